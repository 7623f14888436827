# A complete hello that ends inside a field waits for more.
s/ \&\& h->need > h->msg_left\)/ \&\& h->need > HELLO_MESSAGE_MAX)/
