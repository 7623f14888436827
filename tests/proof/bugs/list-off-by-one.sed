# The walk over the ALPN list steps over its end.
s/len >= info->alpn_len - \*pos/len > info->alpn_len - *pos/
