# An empty record underflows the count of its bytes.
s/h->rec_left == 0 \|\| //
