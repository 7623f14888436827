# Bytes may follow the extensions block.
s/number != h->msg_left/number > h->msg_left/
