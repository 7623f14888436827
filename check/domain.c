#include "domain.h"

#include "mem.h"

#include <ctype.h>
#include <idn2.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

static bool is_host_name(const char *name)
{
	size_t label = 0;

	for (const char *c = name; *c != '\0'; c++) {
		if (*c == '.') {
			if (label == 0)
				return false;
			label = 0;
		} else if (!isalnum((unsigned char)*c) && *c != '-') {
			return false;
		} else {
			label++;
		}
	}
	return label > 0;
}

/* "user@example.org/phone" -> "example.org", without a dot at the end. */
static char *bare(const char *text)
{
	const char *at = strchr(text, '@');
	char *name = mem_copy(at != NULL ? at + 1 : text);
	size_t len;

	name[strcspn(name, "/")] = '\0';
	len = strlen(name);
	if (len > 0 && name[len - 1] == '.')
		name[len - 1] = '\0';
	return name;
}

bool domain_parse(const char *text, struct domain *ret, const char **ret_why)
{
	char *name = bare(text), *ascii = NULL, *unicode = NULL;
	int err = idn2_lookup_u8((const uint8_t *)name, (uint8_t **)&ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);

	/* Not UTF-8: perhaps what the terminal speaks. */
	if (err == IDN2_ENCODING_ERROR)
		err = idn2_lookup_ul(name, &ascii, IDN2_NONTRANSITIONAL);
	if (err != IDN2_OK) {
		*ret_why = idn2_strerror(err);
		goto out;
	}
	if (strlen(ascii) > 253 || !is_host_name(ascii)) {
		*ret_why = "it is not a host name";
		err = -1;
		goto out;
	}
	*ret = (struct domain){0};
	for (size_t i = 0; ascii[i] != '\0'; i++)
		ret->ascii[i] = (char)tolower((unsigned char)ascii[i]);
	if (idn2_to_unicode_8z8z(ret->ascii, &unicode, 0) != IDN2_OK || strlen(unicode) >= sizeof(ret->unicode)) {
		idn2_free(unicode);
		unicode = NULL;
	}
	snprintf(ret->unicode, sizeof(ret->unicode), "%s", unicode != NULL ? unicode : ret->ascii);
	idn2_free(unicode);
out:
	idn2_free(ascii);
	free(name);
	return err == IDN2_OK;
}
