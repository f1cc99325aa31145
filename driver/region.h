/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The few words of an ivmq region that the driver reads, as in
 * core/region/include/ivmq/internal/layout.h; a test compares the two.
 */
#ifndef IVMQ_REGION_H
#define IVMQ_REGION_H

/* Header */
#define IVMQ_REGION_MAGIC		0x4d48532d514d5649ULL
#define IVMQ_REGION_VERSION_MAJOR	3
#define IVMQ_HEADER_BYTES		4096
#define IVMQ_HEADER_MAGIC		0
#define IVMQ_HEADER_VERSION		8
#define IVMQ_HEADER_MAX_PEERS		48
#define IVMQ_HEADER_PEER_STRIDE		52
#define IVMQ_HEADER_PEER_TABLE		56
#define IVMQ_HEADER_SERVER_EPOCH	128
#define IVMQ_HEADER_SERVER_VECTORS	140
#define IVMQ_HEADER_GENERATION		256
#define IVMQ_MAX_PEERS			1024

/* A slot of the peer table */
#define IVMQ_SLOT_BYTES			4096
#define IVMQ_SLOT_LIFE			0
#define IVMQ_SLOT_BOOT_ID		8
#define IVMQ_SLOT_VECTOR		36
#define IVMQ_SLOT_NAME_INCARNATION	48

/* Life word: incarnation << 32 | ivposition << 16 | flags << 8 | state */
#define IVMQ_LIFE_STATE(word)		((word) & 0xff)
#define IVMQ_LIFE_FLAGS(word)		(((word) >> 8) & 0xff)
#define IVMQ_LIFE_IVPOSITION(word)	(((word) >> 16) & 0xffff)
#define IVMQ_LIFE_INCARNATION(word)	((word) >> 32)
#define IVMQ_LIFE_WITH_STATE(word, state) (((word) & ~0xffULL) | (state))
#define IVMQ_STATE_CLAIMING		1
#define IVMQ_STATE_LIVE			2
#define IVMQ_STATE_DEAD			3
#define IVMQ_PEER_FLAGS			0x0f
#define IVMQ_PEER_WAKEABLE		0x04

#endif /* IVMQ_REGION_H */
