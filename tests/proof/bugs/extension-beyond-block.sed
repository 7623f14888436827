# An extension may be longer than the block it is in.
s/h->ext_left > h->exts_left\)/h->ext_left > HELLO_MESSAGE_MAX)/
