/* The door to libcurl: webhooks and mail. Its calls with varying arguments are given types here, because Swift cannot
   make such calls. */
#ifndef GATEHOUSE_CCURL_H
#define GATEHOUSE_CCURL_H

#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>

static inline CURLcode ccurl_set_number(CURL *handle, CURLoption option, long value) {
    return curl_easy_setopt(handle, option, value);
}

/* libcurl copies the text, but for CURLOPT_POSTFIELDS. */
static inline CURLcode ccurl_set_text(CURL *handle, CURLoption option, const char *value) {
    return curl_easy_setopt(handle, option, value);
}

/* The list must live as long as the handle is used. */
static inline CURLcode ccurl_set_list(CURL *handle, CURLoption option, struct curl_slist *value) {
    return curl_easy_setopt(handle, option, value);
}

/* CURLOPT_WRITEFUNCTION or CURLOPT_HEADERFUNCTION, and what it is handed. */
static inline CURLcode ccurl_on_bytes(
    CURL *handle, CURLoption option, curl_write_callback callback, CURLoption state_option, void *state) {
    CURLcode code = curl_easy_setopt(handle, option, callback);
    return code == CURLE_OK ? curl_easy_setopt(handle, state_option, state) : code;
}

static inline CURLcode ccurl_on_upload(CURL *handle, curl_read_callback callback, void *state) {
    CURLcode code = curl_easy_setopt(handle, CURLOPT_READFUNCTION, callback);
    return code == CURLE_OK ? curl_easy_setopt(handle, CURLOPT_READDATA, state) : code;
}

/* Asked about a second apart, and at each step; anything but 0 ends the transfer. */
static inline CURLcode ccurl_on_progress(CURL *handle, curl_xferinfo_callback callback, void *state) {
    CURLcode code = curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
    if (code == CURLE_OK) code = curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, callback);
    return code == CURLE_OK ? curl_easy_setopt(handle, CURLOPT_XFERINFODATA, state) : code;
}

/* Asked for each address before a socket is made for it; CURL_SOCKET_BAD passes the address over. */
static inline CURLcode ccurl_on_socket(CURL *handle, curl_opensocket_callback callback, void *state) {
    CURLcode code = curl_easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, callback);
    return code == CURLE_OK ? curl_easy_setopt(handle, CURLOPT_OPENSOCKETDATA, state) : code;
}

static inline CURLcode ccurl_number(CURL *handle, CURLINFO info, long *value) {
    return curl_easy_getinfo(handle, info, value);
}

/* The seconds that Retry-After says or, of a date, that it lies ahead; 0 without one, or with one that is neither. */
static inline curl_off_t ccurl_retry_after(CURL *handle) {
    curl_off_t seconds = 0;
    return curl_easy_getinfo(handle, CURLINFO_RETRY_AFTER, &seconds) == CURLE_OK ? seconds : 0;
}

/* CURL_SOCKET_BAD is a macro with a cast, and so are these. */
static inline curl_socket_t ccurl_no_socket(void) { return CURL_SOCKET_BAD; }
static inline curl_socket_t ccurl_open(const struct curl_sockaddr *address) {
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}
/* struct curl_sockaddr holds the address in place of a `struct sockaddr`, and is longer than that. */
static inline const void *ccurl_address(const struct curl_sockaddr *address) { return &address->addr; }
static inline CURLcode ccurl_global_init(void) { return curl_global_init(CURL_GLOBAL_DEFAULT); }

#endif
