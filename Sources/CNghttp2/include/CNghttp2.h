// nghttp2, for the room HTTP2 only. Its functions are called by their own names.
#ifndef GATEHOUSE_CNGHTTP2_H
#define GATEHOUSE_CNGHTTP2_H

#include <nghttp2/nghttp2.h>

#endif
