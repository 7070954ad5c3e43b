"""The stable names that users see, in one table: reasons with their status, events, metrics."""

REASONS = {
    "redirect_to_https": 308,
    "bad_request": 400,
    "bad_target": 400,
    "bad_host": 400,
    "bad_framing": 400,
    "token_missing": 401,
    "token_invalid": 401,
    "token_expired": 401,
    "token_unknown_key": 401,
    "keys_unavailable": 503,
    "insufficient_scope": 403,
    "insufficient_role": 403,
    "plain_http": 400,
    "no_route": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "body_too_large": 413,
    "uri_too_long": 414,
    "expectation_failed": 417,
    "misdirected_request": 421,
    "rate_limited": 429,
    "too_many_in_flight": 429,
    "head_too_large": 431,
    "client_closed": 499,
    "websocket_idle": 408,
    "internal": 500,
    "not_implemented": 501,
    "upstream_connect": 502,
    "upstream_tls": 502,
    "upstream_reset": 502,
    "upstream_invalid": 502,
    "upstream_truncated": 502,
    "upstream_overloaded": 503,
    "overloaded": 503,
    "draining": 503,
    "upstream_timeout": 504,
    "upstream_connect_timeout": 504,
    "unsupported_version": 505,
}

# Where a test does not mind which of several reasons is said.
KINDS = {
    "bad_request": {"bad_request", "bad_target", "bad_host", "bad_framing"},
    "token_invalid": {"token_invalid", "token_unknown_key"},
}


def kind(reason):
    """The reasons that will do where `reason` is asked for."""
    return KINDS.get(reason, {reason})


# Events on the error log, which the tests wait for.
LISTENING = "listening"
READY = "ready"
RELOADED = "reloaded"
RELOAD_REFUSED = "reload_refused"
UPSTREAM_TLS_FAILED = "upstream_tls_failed"
HANDSHAKE_FAILED = "tls_handshake_failed"
TLS_FILE_REFUSED = "tls_file_refused"
TLS_FILES_READ = "tls_files_read"

# Fields of an access line, as the log writes them.
ACCESS_FIELDS = {
    "time", "request_id", "client", "method", "host", "path", "route", "service", "endpoint", "status", "reason",
    "protocol", "tls", "bytes_in", "bytes_out", "duration_us", "subject",
}
