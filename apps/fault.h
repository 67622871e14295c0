/* Mapped files can fail while they are read: cut short by someone, or on a disk that dies. */
#ifndef APPS_FAULT_H
#define APPS_FAULT_H

/* From now on such a failure ends the program with a message that names the file and exit status 1, in place of a bare
 * "Bus error". What was computed from the pages before it stays right: no page is ever made up. */
void faults_name_files(void);

#endif
