# A second server name extension is read.
s/h->seen_sni \|\| //
