# Skipping does not stop at the end of a record.
s/h->need < h->rec_left \? h->need : h->rec_left/h->need/
