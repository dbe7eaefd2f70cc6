vcl 4.1;
# A front door: Varnish before the doors of 'posternctl up', a bucket's website, or another door.
#
# It speaks plain HTTP on both sides: before it belongs something that ends TLS (hitch, nginx, caddy),
# behind it an origin over HTTP. That costs no trust, for whatever is served is signed. 'posternctl
# deploy doors --server varnish' fills in the variables, which are all between at signs:
#
#   HOST, PORT   the origin
#   HOST_HEADER  what it is called in a request
#   PREFIX       what stands before every path there: /bucket, or nothing
#   BRIEF        for how many seconds what changes is kept: 60
#   CONTROL      the rules of the control plane (varnish-control.vcl), or nothing
#
# It listens where varnishd is told (-a), and keeps as much as it is told (-s malloc,256m), in memory: a
# Varnish that is started while its origin is down has nothing.
#
# What holds a version or a hash in its name is kept as long as there is room; what changes, timestamp.json
# and the bundles, for BRIEF seconds, and then the origin is asked whether it is still so, while whoever
# asked waits. Where the origin gives no answer, or a refusal, what was kept is served on: it is signed, and
# says itself until when it is good. No header that tells of a caller reaches the origin.

import std;

backend origin {
    .host = "@HOST@";
    .port = "@PORT@";
    .host_header = "@HOST_HEADER@";
    .connect_timeout = 2s;
    .first_byte_timeout = 3s;
    .between_bytes_timeout = 3s;
    # An origin that does not answer is found out, and nobody waits for it any more. Every repository has
    # its first root.
    .probe = {
        .url = "@PREFIX@/metadata/1.root.json";
        .interval = 5s;
        .timeout = 2s;
        .window = 3;
        .threshold = 2;
        .initial = 2;
    }
}

@CONTROL@

sub vcl_recv {
    unset req.http.X-Kept;
    if (req.url ~ "^/v1/") {
        call control;
    }
    if (req.method != "GET" && req.method != "HEAD") {
        return (synth(405));
    }
    # The name alone: nobody can pass the cache by with a question mark.
    set req.url = regsub(req.url, "\?.*$", "");
    if (req.url ~ "^/(metadata/timestamp\.json|bundles/trust|bundles/cohort/[A-Za-z0-9._~-]+)$") {
        set req.http.X-Kept = "briefly";
    } else if (req.url ~ "^/(metadata/[0-9]+\.[a-z]+\.json|targets/[A-Za-z0-9._~/-]+)$") {
        set req.http.X-Kept = "for-good";
    } else {
        return (synth(404));
    }
    unset req.http.Accept-Encoding;
    # What is older than BRIEF is not served while the origin answers; afterwards it is, for as long as a
    # repository can be good.
    if (req.restarts == 0 && std.healthy(req.backend_hint)) {
        set req.grace = 0s;
    } else {
        set req.grace = 60d;
    }
    return (hash);
}

sub vcl_hash {
    # Whatever name the door was called by.
    hash_data(req.url);
    return (lookup);
}

sub vcl_backend_fetch {
    if (!bereq.http.X-Kept) {
        return (fetch);
    }
    set bereq.url = "@PREFIX@" + bereq.url;
    # Varnish can only take headers away by their names.
    unset bereq.http.Accept;
    unset bereq.http.Accept-Encoding;
    unset bereq.http.Accept-Language;
    unset bereq.http.Authorization;
    unset bereq.http.Cookie;
    unset bereq.http.Forwarded;
    unset bereq.http.Referer;
    unset bereq.http.User-Agent;
    unset bereq.http.Via;
    unset bereq.http.X-Forwarded-For;
    return (fetch);
}

sub vcl_backend_response {
    if (!bereq.http.X-Kept) {
        return (deliver);
    }
    unset beresp.http.Set-Cookie;
    unset beresp.http.Vary;
    unset beresp.http.Expires;
    unset beresp.http.Cache-Control;
    if (beresp.status != 200) {
        # Another copy is there where this was asked for with its tag: that one stays.
        if (bereq.is_bgfetch || bereq.http.If-None-Match || bereq.http.If-Modified-Since) {
            return (abandon);
        }
        set beresp.grace = 0s;
        set beresp.keep = 0s;
        if (beresp.status == 403 || beresp.status == 404) {
            # It may come yet.
            set beresp.ttl = @BRIEF@s;
        } else {
            set beresp.ttl = 0s;
            set beresp.uncacheable = true;
        }
        return (deliver);
    }
    set beresp.grace = 60d;
    set beresp.keep = 0s;
    if (bereq.http.X-Kept == "for-good") {
        set beresp.ttl = 365d;
        set beresp.http.Cache-Control = "public, max-age=31536000, immutable";
    } else {
        set beresp.ttl = @BRIEF@s;
        set beresp.http.Cache-Control = "public, max-age=@BRIEF@";
    }
    return (deliver);
}

sub vcl_backend_error {
    if (bereq.is_bgfetch) {
        return (abandon);
    }
}

sub vcl_deliver {
    # The origin failed: once more, with what is kept.
    if (resp.status >= 500 && req.restarts == 0 && req.http.X-Kept) {
        return (restart);
    }
    unset resp.http.Via;
    unset resp.http.X-Varnish;
    if (obj.hits > 0) {
        set resp.http.X-Cache = "HIT";
    } else {
        set resp.http.X-Cache = "MISS";
    }
}

sub vcl_synth {
    if (resp.status == 503 && req.restarts == 0 && req.http.X-Kept) {
        return (restart);
    }
}
