"""The stable names that users see, in one table: reasons with their status, events, metrics."""

REASONS = {
    "no_route": 404,
    "bad_request": 400,
    "uri_too_long": 414,
    "head_too_large": 431,
    "body_too_large": 413,
    "request_timeout": 408,
    "token_missing": 401,
    "token_invalid": 401,
    "token_expired": 401,
    "rate_limited": 429,
    "upstream_connect": 502,
    "upstream_reset": 502,
    "upstream_timeout": 504,
    "upstream_overloaded": 503,
    "draining": 503,
    "client_closed": 499,
    "internal": 500,
}

# Events on the error log, which the tests wait for.
LISTENING = "listening"
READY = "ready"
RELOADED = "reloaded"
RELOAD_REFUSED = "reload_refused"

# Fields of an access line, as the log writes them.
ACCESS_FIELDS = {
    "time", "request_id", "client", "method", "host", "path", "route", "service", "endpoint", "status", "reason",
    "protocol", "tls", "bytes_in", "bytes_out", "duration_us", "subject",
}
