#include "list.h"

#include "support.h"

struct member {
	int number;
	struct list link;
};

/* The list holds exactly these, in both directions. */
static void assert_holds(const struct list *l, const int *numbers, int n)
{
	const struct list *link = l->next;

	for (int i = 0; i < n; i++, link = link->next)
		assert_int_equal(container_of(link, struct member, link)->number, numbers[i]);
	assert_ptr_equal(link, l);
	link = l->prev;
	for (int i = n - 1; i >= 0; i--, link = link->prev)
		assert_int_equal(container_of(link, struct member, link)->number, numbers[i]);
	assert_ptr_equal(link, l);
	assert_int_equal(list_empty(l), n == 0);
}

static void members_stand_where_they_were_put(void **state)
{
	struct member m[4] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
	struct list l;

	(void)state;
	list_init(&l);
	assert_holds(&l, NULL, 0);
	list_add_last(&l, &m[1].link);
	assert_holds(&l, (int[]){1}, 1);
	list_add_first(&l, &m[0].link);
	assert_holds(&l, (int[]){0, 1}, 2);
	list_add_last(&l, &m[3].link);
	assert_holds(&l, (int[]){0, 1, 3}, 3);
	list_add_after(&m[1].link, &m[2].link);
	assert_holds(&l, (int[]){0, 1, 2, 3}, 4);
}

static void members_are_removed_from_anywhere(void **state)
{
	struct member m[4];
	struct list l;

	(void)state;
	list_init(&l);
	for (int i = 0; i < 4; i++) {
		m[i].number = i;
		list_add_last(&l, &m[i].link);
	}
	list_remove(&m[1].link);
	assert_holds(&l, (int[]){0, 2, 3}, 3);
	list_remove(&m[3].link);
	assert_holds(&l, (int[]){0, 2}, 2);
	list_remove(&m[0].link);
	assert_holds(&l, (int[]){2}, 1);
	list_remove(&m[2].link);
	assert_holds(&l, NULL, 0);
	list_add_first(&l, &m[0].link);
	assert_holds(&l, (int[]){0}, 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(members_stand_where_they_were_put),
		TEST(members_are_removed_from_anywhere),
	};

	return cmocka_run_group_tests_name("list", tests, group_begin, NULL);
}
