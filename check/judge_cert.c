#include "judge.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

static void date(char out[24], time_t t)
{
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 24, "%Y-%m-%d %H:%M UTC", &tm);
}

static const char *whose(const struct cert *c)
{
	return c->leaf ? "it" : "a certificate in its chain";
}

/* The gravest fault is told; the others follow from it or are of no use until it is gone. */
static struct check *one_fault(struct report *r, const struct cert *c, const char *id, const char *label, const char *name,
			       time_t now)
{
	struct check *k;
	char until[24], from[24], today[24];

	date(until, c->until);
	date(from, c->from);
	date(today, now);
	if (c->faults & CERT_EXPIRED) {
		k = report_add(r, VERDICT_ERROR, id, label, "%s has expired, on %s", whose(c), until);
		check_advise(k, "Renew it (certbot renew), and let the server load the new one (systemctl reload prosody nginx).");
	} else if (c->faults & CERT_NOT_YET_VALID) {
		k = report_add(r, VERDICT_ERROR, id, label, "%s is not valid before %s, and here it is %s", whose(c), from, today);
		check_advise(k, "Set the clock of this machine, or of the one that issued the certificate, whichever is wrong (timedatectl).");
	} else if (c->faults & CERT_WRONG_NAME) {
		k = report_add(r, VERDICT_ERROR, id, label, "it is not for %s but for %s", name,
			       c->names[0] != '\0' ? c->names : c->subject);
		check_advise(k, "Get a certificate for %s and give it to the server under that name.", name);
	} else if (c->faults & CERT_SELF_SIGNED) {
		k = report_add(r, VERDICT_ERROR, id, label, "it is self-signed, so clients do not trust it");
		check_advise(k, "Get a certificate from an authority such as Let's Encrypt.");
	} else if (c->faults & CERT_INCOMPLETE && c->sent <= 1) {
		k = report_add(r, VERDICT_ERROR, id, label, "the chain is incomplete: only the server's own certificate came, issued by %s",
			       c->issuer);
		check_advise(k, "Let the server send the intermediate certificate too: fullchain.pem instead of cert.pem.");
	} else if (c->faults & (CERT_INCOMPLETE | CERT_UNKNOWN_ROOT)) {
		k = report_add(r, VERDICT_ERROR, id, label, "no authority that is trusted here has issued it: %s", c->issuer);
		check_advise(k, "Get a certificate from a public authority; if this is your own, name its certificate with --ca-file.");
	} else if (c->faults & CERT_OTHER) {
		k = report_add(r, VERDICT_ERROR, id, label, "it is not accepted: %s", c->other);
		check_advise(k, "Get a new certificate.");
	} else if (cert_days_left(c, now) < JUDGE_EXPIRES_SOON) {
		k = report_add(r, VERDICT_WARNING, id, label, "it expires in %d days, on %s", cert_days_left(c, now), until);
		check_advise(k, "Look why it has not been renewed (certbot renew --dry-run), and whether the server loads new ones.");
	} else {
		k = report_add(r, VERDICT_OK, id, label, "%s, %d days left, issued by %s", c->names[0] != '\0' ? c->names : c->subject,
			       cert_days_left(c, now), c->issuer);
	}
	return k;
}

static json_t *faults_json(unsigned faults)
{
	static const struct {
		unsigned bit;
		const char *name;
	} names[] = {
		{CERT_EXPIRED, "expired"}, {CERT_NOT_YET_VALID, "not-yet-valid"}, {CERT_WRONG_NAME, "wrong-name"},
		{CERT_SELF_SIGNED, "self-signed"}, {CERT_INCOMPLETE, "incomplete-chain"}, {CERT_UNKNOWN_ROOT, "unknown-root"},
		{CERT_OTHER, "other"},
	};
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (faults & names[i].bit)
			json_array_append_new(list, json_string(names[i].name));
	return list;
}

void judge_cert(struct report *r, const struct cert *c, const char *id, const char *label, const char *name, time_t now)
{
	struct check *k = one_fault(r, c, id, label, name, now);

	k->data = json_pack("{s:s, s:s, s:s, s:i, s:i, s:o}", "names", c->names, "subject", c->subject, "issuer", c->issuer, "days_left",
			    cert_days_left(c, now), "chain_length", c->sent, "faults", faults_json(c->faults));
}
