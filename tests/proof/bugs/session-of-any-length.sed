# A session id longer than 32 bytes is let through.
s/number > SESSION_MAX/number > 255/
