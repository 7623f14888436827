# A malformed hello goes on being read.
s/^(\tif \(h->status) != HELLO_NEED_MORE\)/\1 == HELLO_OK)/
