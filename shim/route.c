#include "route.h"

#include <string.h>
#include <strings.h>

bool route_is_hostname(const uint8_t *name, size_t len)
{
	size_t label = 0;

	if (len > 0 && name[len - 1] == '.')
		len--;
	if (len == 0 || len > 253)
		return false;
	for (size_t i = 0; i < len; i++) {
		uint8_t c = name[i];

		if (c == '.') {
			if (label == 0)
				return false;
			label = 0;
			continue;
		}
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '-') || ++label > 63)
			return false;
	}
	return label > 0;
}

static bool offers(const struct hello_info *info, const char *want)
{
	const uint8_t *name;
	size_t len, pos = 0, want_len = strlen(want);

	while (hello_alpn_next(info, &pos, &name, &len))
		if (len == want_len && memcmp(name, want, len) == 0)
			return true;
	return false;
}

bool route_matches_alpn(const struct route *r, const struct hello_info *info, const char **ret_alpn)
{
	if (r->alpn.n == 0 && !r->alpn_none)
		return true;
	if (r->alpn_none && info->alpn_len == 0)
		return true;
	for (size_t i = 0; i < r->alpn.n; i++) {
		if (offers(info, r->alpn.v[i])) {
			*ret_alpn = r->alpn.v[i];
			return true;
		}
	}
	return false;
}

bool route_matches_sni(const struct route *r, const struct hello_info *info)
{
	const char *sni = (const char *)info->sni;
	size_t len = info->sni_len;

	if (r->sni.n == 0)
		return true;
	if (!route_is_hostname(info->sni, len))
		return false;
	if (sni[len - 1] == '.')
		len--;

	for (size_t i = 0; i < r->sni.n; i++) {
		const char *want = r->sni.v[i];
		size_t want_len = strlen(want);

		if (want[0] == '*') { /* "*.example.org": one label or more in front of ".example.org" */
			want++;
			want_len--;
			if (len > want_len && strncasecmp(sni + len - want_len, want, want_len) == 0)
				return true;
		} else if (len == want_len && strncasecmp(sni, want, len) == 0) {
			return true;
		}
	}
	return false;
}

const struct route *route_find(const struct route *routes, size_t n, const struct hello_info *info,
			       const char **ret_alpn)
{
	for (size_t i = 0; i < n; i++) {
		*ret_alpn = NULL;
		if (route_matches_sni(&routes[i], info) && route_matches_alpn(&routes[i], info, ret_alpn))
			return &routes[i];
	}
	*ret_alpn = NULL;
	return NULL;
}
