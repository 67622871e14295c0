/* Runs a fuzzer's function over the files of a folder (its committed corpus) without libFuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    DIR *folder = opendir(argv[1]);
    int files = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char *path = file_join(argv[1], entry->d_name);
        uint8_t *bytes = NULL;
        size_t size = 0;
        if (entry->d_name[0] != '.' && file_read(path, 64u << 20, &bytes, &size, NULL) == GOSS_OK) {
            LLVMFuzzerTestOneInput(bytes, size);
            files++;
        }
        free(bytes);
        free(path);
    }
    if (folder)
        closedir(folder);
    (void)printf("%d inputs\n", files);
    return files ? 0 : 1; /* an empty corpus proves nothing */
}
