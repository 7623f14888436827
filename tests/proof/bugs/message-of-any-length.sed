# The announced length is not limited and gets cut to 16 bits.
s/h->number > HELLO_MESSAGE_MAX - MESSAGE_HEADER \|\| //
