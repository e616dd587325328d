"""Videos made anew by where people look: bits spent there (`encode`), and crops that follow (`reframe`)."""
