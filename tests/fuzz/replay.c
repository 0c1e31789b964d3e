/* main() for fuzz targets where libFuzzer is absent: runs every file of the folders (or files) given, then a few thousand seeded mutations of them,
 * so that gcc builds with sanitizers search a little too. */
#include "common/random.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUTATIONS 400
#define INPUT_MAX (1 << 20)

static uint8_t *read_file(const char *path, size_t *ret_size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    uint8_t *bytes = malloc(INPUT_MAX);
    *ret_size = bytes == NULL ? 0 : fread(bytes, 1, INPUT_MAX, file);
    (void)fclose(file);
    return bytes;
}

static void mutate(uint8_t *bytes, size_t *size, const struct sl_random *random, uint64_t round)
{
    uint64_t edits = 1 + sl_random_below(random, round * 64, 4);
    for (uint64_t i = 0; i < edits; i++) {
        uint64_t at = round * 64 + 1 + i * 4;
        if (*size == 0)
            return;
        size_t place = (size_t)sl_random_below(random, at, *size);
        switch (sl_random_below(random, at + 1, 4)) {
        case 0:
            bytes[place] ^= (uint8_t)(1U << sl_random_below(random, at + 2, 8));
            break;
        case 1:
            bytes[place] = (uint8_t)sl_random_u32(random, at + 2);
            break;
        case 2:
            *size = place;
            break;
        default:
            memmove(bytes + place, bytes + place + 1, *size - place - 1);
            *size -= 1;
            break;
        }
    }
}

static int run_file(const char *path, uint64_t *count)
{
    size_t size = 0;
    uint8_t *bytes = read_file(path, &size);
    if (bytes == NULL) {
        fprintf(stderr, "cannot read %s\n", path);
        return 1;
    }
    (void)LLVMFuzzerTestOneInput(bytes, size);
    struct sl_random random = sl_random_make(sl_hash64(bytes, size, 0), SL_RANDOM_TEST, 0, 0);
    for (uint64_t round = 0; round < MUTATIONS; round++) {
        /* exactly sized copy: the sanitizer sees a read past the end */
        uint8_t *copy = malloc(size == 0 ? 1 : size);
        if (copy == NULL)
            break;
        memcpy(copy, bytes, size);
        size_t copy_size = size;
        mutate(copy, &copy_size, &random, round);
        uint8_t *exact = malloc(copy_size == 0 ? 1 : copy_size);
        if (exact != NULL) {
            memcpy(exact, copy, copy_size);
            (void)LLVMFuzzerTestOneInput(exact, copy_size);
            *count += 1;
        }
        free(exact);
        free(copy);
    }
    free(bytes);
    *count += 1;
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t count = 0;
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (dir == NULL) {
            failed |= run_file(argv[i], &count);
            continue;
        }
        for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
            if (entry->d_name[0] == '.')
                continue;
            char path[4096];
            (void)snprintf(path, sizeof(path), "%s/%s", argv[i], entry->d_name);
            failed |= run_file(path, &count);
        }
        (void)closedir(dir);
    }
    printf("%lu inputs\n", (unsigned long)count);
    return failed != 0 || count == 0;
}
