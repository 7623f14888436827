# One byte more of a name is kept than there is room for.
s/\*len < size/*len <= size/
