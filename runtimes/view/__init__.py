"""One page that shows a source and its saliency live, in any browser: playback, prediction, hub, server, page."""
