# SPDX-License-Identifier: GPL-2.0-or-later
# The headers in include/ are those of the newest kernel that the programs know;
# CPPFLAGS= takes the machine's own.
CC = cc
CFLAGS = -std=gnu11 -O1 -Wall -Wextra
CPPFLAGS = -Iinclude
LDLIBS = -lpthread

all: $(basename $(wildcard *.c))

clean:
	$(RM) $(basename $(wildcard *.c))

.PHONY: all clean
