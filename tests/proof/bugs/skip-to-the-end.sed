# The last byte of a piece is skipped as well, and so its consequences.
s/\(uint16_t\)\(n - 1\); \/\* the last one/n; \/* the last one/
