#include "pending.h"

#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct addr v4(uint32_t n)
{
	struct addr a = {.family = AF_INET, .port = (uint16_t)n};

	for (int i = 0; i < 4; i++)
		a.ip[i] = (uint8_t)(n >> (8 * (3 - i)));
	return a;
}

static struct addr v6(uint8_t network, uint8_t host)
{
	return (struct addr){.family = AF_INET6, .ip = {0x20, 1, 0xd, 0xb8, 0, 0, 0, network, host, 1, 2, 3, 4, 5, 6, host}};
}

static void a_client_gets_as_many_as_its_limit(void **state)
{
	struct addr a = v4(0xc0000201), b = v4(0xc0000202);
	struct pending *p;

	(void)state;
	assert_int_equal(pending_new(100, &p), 0);
	assert_true(pending_add(p, &a, 2));
	assert_true(pending_add(p, &a, 2));
	assert_false(pending_add(p, &a, 2));
	assert_true(pending_add(p, &b, 2));
	pending_remove(p, &a);
	assert_true(pending_add(p, &a, 2));
	assert_false(pending_add(p, &a, 2));
	assert_true(pending_add(p, &a, 3));
	pending_free(p);
}

static void ports_make_no_difference(void **state)
{
	struct addr a = v4(1), b = v4(1);
	struct pending *p;

	(void)state;
	b.port = 999;
	assert_int_equal(pending_new(100, &p), 0);
	assert_true(pending_add(p, &a, 1));
	assert_false(pending_add(p, &b, 1));
	pending_free(p);
}

static void an_ipv6_slash_64_is_one_client(void **state)
{
	struct addr a = v6(1, 1), same = v6(1, 2), other = v6(2, 1);
	struct pending *p;

	(void)state;
	assert_int_equal(pending_new(100, &p), 0);
	assert_true(pending_add(p, &a, 1));
	assert_false(pending_add(p, &same, 1));
	assert_true(pending_add(p, &other, 1));
	pending_remove(p, &same);
	assert_true(pending_add(p, &a, 1));
	pending_free(p);
}

static void an_ipv4_client_and_an_ipv6_network_with_the_same_bytes_are_two(void **state)
{
	struct addr a = v4(0x20010db8), b = {.family = AF_INET6, .ip = {0x20, 1, 0xd, 0xb8}};
	struct pending *p;

	(void)state;
	assert_int_equal(pending_new(100, &p), 0);
	assert_true(pending_add(p, &a, 1));
	assert_true(pending_add(p, &b, 1));
	pending_free(p);
}

static void a_limit_of_zero_lets_nobody_in(void **state)
{
	struct addr a = v4(1);
	struct pending *p;

	(void)state;
	assert_int_equal(pending_new(10, &p), 0);
	assert_false(pending_add(p, &a, 0));
	pending_free(p);
}

static void no_more_clients_than_it_was_made_for_are_counted(void **state)
{
	struct pending *p;
	struct addr first = v4(0), next = v4(40);

	(void)state;
	assert_int_equal(pending_new(40, &p), 0);
	for (uint32_t i = 0; i < 40; i++) {
		struct addr a = v4(i);

		assert_true(pending_add(p, &a, 9));
	}
	assert_false(pending_add(p, &next, 9));
	assert_true(pending_add(p, &first, 9));
	pending_remove(p, &first);
	assert_false(pending_add(p, &next, 9));
	pending_remove(p, &first);
	assert_true(pending_add(p, &next, 9));
	pending_free(p);
}

static void removing_what_is_not_counted_changes_nothing(void **state)
{
	struct addr a = v4(1), b = v4(2);
	struct pending *p;

	(void)state;
	assert_int_equal(pending_new(10, &p), 0);
	assert_true(pending_add(p, &a, 1));
	pending_remove(p, &b);
	assert_false(pending_add(p, &a, 1));
	pending_free(p);
}

/* Against a plain array, through many additions and removals in a crowded table. */
static void counts_stay_right_whatever_the_order(void **state)
{
	enum { CLIENTS = 64, MAX = 48, LIMIT = 3 };
	unsigned count[CLIENTS] = {0}, used = 0, seed = 7;
	struct pending *p;

	(void)state;
	for (int round = 0; round < 20; round++) {
		memset(count, 0, sizeof(count));
		used = 0;
		assert_int_equal(pending_new(MAX, &p), 0); /* a new seed, so other collisions */
		for (int i = 0; i < 5000; i++) {
			unsigned k = (unsigned)rand_r(&seed) % CLIENTS;
			struct addr a = k % 2 ? v4(k) : v6((uint8_t)k, (uint8_t)i);

			if (rand_r(&seed) % 2) {
				bool may = count[k] < LIMIT && (count[k] > 0 || used < MAX);

				assert_int_equal(pending_add(p, &a, LIMIT), may);
				used += may && count[k] == 0;
				count[k] += may;
			} else if (count[k] > 0) {
				pending_remove(p, &a);
				used -= --count[k] == 0;
			}
		}
		pending_free(p);
	}
}

static void *add_and_remove(void *arg)
{
	struct addr a = v4(5);

	for (int i = 0; i < 20000; i++)
		if (pending_add(arg, &a, 2))
			pending_remove(arg, &a);
	return NULL;
}

static void threads_may_use_it_at_the_same_time(void **state)
{
	struct addr a = v4(5);
	struct pending *p;
	pthread_t t[4];

	(void)state;
	assert_int_equal(pending_new(10, &p), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, add_and_remove, p), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	assert_true(pending_add(p, &a, 1));
	assert_false(pending_add(p, &a, 1));
	pending_free(p);
}

static void without_memory_or_randomness_it_is_not_made(void **state)
{
	struct pending *p = (struct pending *)state;

	fail_calls(CALL_CALLOC, 0, 1, ENOMEM);
	assert_int_equal(pending_new(10, &p), -ENOMEM);
	fail_calls(CALL_GETRANDOM, 0, 1, ENOSYS);
	assert_int_equal(pending_new(10, &p), -ENOSYS);
	assert_ptr_equal(p, state);
	pending_free(NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_client_gets_as_many_as_its_limit),
		TEST(ports_make_no_difference),
		TEST(an_ipv6_slash_64_is_one_client),
		TEST(an_ipv4_client_and_an_ipv6_network_with_the_same_bytes_are_two),
		TEST(a_limit_of_zero_lets_nobody_in),
		TEST(no_more_clients_than_it_was_made_for_are_counted),
		TEST(removing_what_is_not_counted_changes_nothing),
		TEST(counts_stay_right_whatever_the_order),
		TEST(threads_may_use_it_at_the_same_time),
		TEST(without_memory_or_randomness_it_is_not_made),
	};

	return cmocka_run_group_tests_name("pending", tests, group_begin, NULL);
}
