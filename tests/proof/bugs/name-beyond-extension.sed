# An ALPN name may reach into the next extension.
s/number > h->ext_left\)/number > h->exts_left)/
