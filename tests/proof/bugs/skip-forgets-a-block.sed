# Skipped bytes of an extension are not counted off the block of extensions.
s/h->exts_left = \(uint16_t\)\(h->exts_left - n\);/;/
