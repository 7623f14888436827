#ifndef XMPP443_CHECK_DOMAIN_H
#define XMPP443_CHECK_DOMAIN_H

/*
 * domain: the name that is checked, as people write it and as DNS wants it.
 */

#include <stdbool.h>

#define DOMAIN_MAX 256

struct domain {
	char ascii[DOMAIN_MAX];       /* A-labels, lower case, no dot at the end */
	char unicode[4 * DOMAIN_MAX]; /* U-labels; the same as ascii if there is nothing special */
};

/*
 * Reads a name in UTF-8, or in the encoding of the locale, of either form (RFC
 * 5891, with UTS #46 for capital letters and the like). A JID is reduced to
 * its domain. False: *ret_why says what is wrong, a constant.
 */
bool domain_parse(const char *text, struct domain *ret, const char **ret_why);

#endif
