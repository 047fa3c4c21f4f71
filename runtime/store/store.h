// The store: objects, the table of their slots, and the memory of their payloads.
#ifndef MTI_STORE_STORE_H
#define MTI_STORE_STORE_H

#include "store/devheap.h"
#include "store/heap.h"
#include "store/object.h"
#include "store/table.h"

#endif
