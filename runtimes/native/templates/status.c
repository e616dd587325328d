const char *uva_strerror(int status)
{
    return status == UVA_OK ? "ok" : "error";
}
