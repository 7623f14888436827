# One byte counts as two.
s/--h->need > 0/(h->need = (uint16_t)(h->need - 2)) > 0/
