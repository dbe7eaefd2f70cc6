backend control_plane {
    .host = "@CONTROL_NAME@";
    .port = "@CONTROL_PORT@";
    .host_header = "@CONTROL_HOST@";
    .connect_timeout = 2s;
    .first_byte_timeout = 30s;
}

# The control plane: passed on as it came, never kept, and not told who asked.
sub control {
    set req.backend_hint = control_plane;
    unset req.http.X-Forwarded-For;
    return (pass);
}
