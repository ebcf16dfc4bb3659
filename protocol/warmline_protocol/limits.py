"""Every limit that both sides of the wire must agree on, once. Times say their unit in the name."""

from __future__ import annotations

from typing import Final

# --- codec -------------------------------------------------------------------------------------------------------
MESSAGE_MAX: Final = 1 << 20
"""Bytes of one encoded message; each protocol sets a smaller cap of its own."""
DEPTH_MAX: Final = 8
"""Nesting of lists and maps."""
ITEMS_MAX: Final = 4096
"""Entries of one list or map."""
VALUES_BASE: Final = 5000
"""Values (items of lists and maps, and these themselves) of one message, whatever its size."""
BYTES_PER_VALUE: Final = 16
"""One value more for every so many bytes: what honest messages hold beyond the base is larger."""
VALUES_MAX: Final = 24_576
"""Values of one message at most. The largest honest one is a bucket of sync: 4096 entries of three fields."""
VARINT_MAX: Final = 4
"""Bytes of a frame's length prefix: 256 MiB, far above any cap."""
CLOCK_SKEW_MS: Final = 5 * 60_000
"""How far a signed time may lie in a receiver's future."""
REFUSAL_TEXT_MAX: Final = 300
"""Characters of the reason and of the hint in a refusal."""

# --- gossip ------------------------------------------------------------------------------------------------------
GOSSIP_DATA_MAX: Final = 64 * 1024
"""Bytes of one published payload; GossipSub drops above 1 MiB in silence, and small messages travel faster."""
GOSSIP_FRAME_MAX: Final = 256 * 1024
"""Bytes of one RPC on a meshsub stream: a few full payloads, or control for every topic."""
GOSSIP_TOPIC_MAX: Final = 128
"""Bytes of a topic name."""

# --- kad ---------------------------------------------------------------------------------------------------------
KAD_K: Final = 20
"""Replication: how many closest nodes hold a record (Kademlia's k)."""
KAD_ALPHA: Final = 3
"""Queries of one lookup under way at once."""
KAD_MESSAGE_MAX: Final = 256 * 1024
"""Bytes of one kad message, request or answer."""
KAD_KEY_MAX: Final = 128
"""Bytes of a key."""
KAD_VALUE_MAX: Final = 20 * 1024
"""Bytes of a stored value: a 16 KiB record and its envelope."""
KAD_PEERS_MAX: Final = 128
"""Peers in one list of an answer; an honest node sends at most 20 closer ones and 64 providers."""
KAD_ADDRS_MAX: Final = 32
"""Addresses of one peer in an answer."""
KAD_ADDR_MAX: Final = 256
"""Bytes of one binary multiaddr."""
KAD_PATHS: Final = 3
"""Disjoint paths of one lookup: nobody is asked on two of them, so that what one liar names leads one astray."""
KAD_PER_NETWORK: Final = 4
"""Peers of one open network (/16, /32 of IPv6, domain) among the k closest that a lookup asks and believes."""
KAD_BUCKET_PER_NETWORK: Final = 2
KAD_TABLE_PER_NETWORK: Final = 8
"""Peers of one open network in one bucket, and in all buckets, of a node's routing table."""
KAD_LOOKUP_QUERIES_MAX: Final = 66
"""Queries that one lookup may cost, whatever it is told on the way; each path has its share."""
KAD_REGION_QUERIES_MAX: Final = 66
"""Queries more, for peers inside the region where the k closest should be: where false ids crowd the key itself."""
KAD_LOOKUP_KNOWN_MAX: Final = 512
"""Candidates that one lookup keeps: the closest."""
KAD_BLAME_MAX: Final = 8
"""Dead referrals after which a lookup believes nothing more that only this peer said."""
KAD_VALUES_MAX: Final = 64
"""Distinct values that one lookup keeps."""
KAD_PROVIDERS_MAX: Final = 1024
"""Distinct providers that one lookup keeps."""

# --- records and discovery ----------------------------------------------------------------------------------------
RECORD_MAX: Final = 16 * 1024
"""Bytes of one signed record with its envelope."""
NODE_LIFE_MS: Final = 24 * 3_600_000
LISTING_LIFE_MS: Final = 48 * 3_600_000
PROGRAMME_AHEAD_MS: Final = 2 * 366 * 86_400_000
"""How far after its signing a listing's programme may open or close: every reader must do arithmetic with it."""
CARD_LIFE_MS: Final = 7 * 24 * 3_600_000
DESK_LIFE_MS: Final = 7 * 24 * 3_600_000
DESK_PEOPLE_MAX: Final = 48
"""Supporters on one desk's rota."""
QUARTER_MS: Final = 15 * 60_000
"""The steps of a rota."""
DELEGATION_LIFE_S: Final = 30 * 86_400
"""Longest time that an off-chain delegation may let a key speak for a wallet."""
CONTACT_KEY_SIZE: Final = 1216
"""X-Wing public key: ML-KEM-768 (1184) and X25519 (32)."""
ROOM_SEATS_MAX: Final = 50
ONE_FACILITATOR_SEATS_MAX: Final = 12
"""Above this a room names a second facilitator."""
AGE_MIN: Final = 18
DIGEST_BUCKETS: Final = 256
"""Buckets of directory sync, by the first byte of the record id."""
DIGEST_SIZE: Final = 16
DIGEST_ENTRY: Final = 22
"""Bytes of one entry in directory sync: 8 of the id, 6 of the signing time, 8 of the digest."""
DIGEST_ENTRIES_MAX: Final = 32_768
"""Entries in one answer: 704 KiB."""
SUMMARY_ROW_MAX: Final = 256
SNAPSHOT_BUCKET_MIN: Final = 32
"""Records in one body bucket of a snapshot, where there are as many."""
SNAPSHOT_INDEX_MAX: Final = 2 << 20
"""Bytes of one shard's summary index; above it the shards split."""
SHARD_RECORDS: Final = 4096
"""Records of one shard at most on average, once there is more than one: half of what an index may hold."""
SHARDS_MAX: Final = 4096
SNAPSHOT_PART_MAX: Final = 256 * 1024
SNAPSHOT_BODIES_MAX: Final = 72 << 20
"""Bytes of all bodies of one shard: what a node's directory holds (64 MiB), and some framing."""
DIRECTORY_FRAME_MAX: Final = 1 << 20
DIRECTORY_QUESTION_MAX: Final = RECORD_MAX + 256
"""Bytes of one question to a directory: a record to publish is the largest; answers have whole frames."""
DIRECTORY_FETCH_MAX: Final = 60
"""Records in one answer of directory sync: 60 full ones fit one frame."""
DIRECTORY_NODES_MAX: Final = 32
STANDING_AGE_MAX_S: Final = 3600
"""A block older than this proves nothing about now: *verified* needs a younger one."""

# --- circuits (relay v2) -------------------------------------------------------------------------------------------
CIRCUIT_MESSAGE_MAX: Final = 4096
"""Bytes of one HOP or STOP message; the relay v2 specification's own cap."""
CIRCUIT_ADDRS_MAX: Final = 32
"""Addresses in one HOP or STOP message."""
CIRCUIT_DURATION_S: Final = 3600
"""Seconds that a relay carries one circuit; the client renews before."""
CIRCUIT_DATA_MAX: Final = 256 << 20
"""Bytes that a relay carries in each direction of one circuit."""
CIRCUIT_RENEW_SHARE: Final = 0.8
"""Part of a circuit's time or data after which its client should open the next one."""
CIRCUITS_MAX: Final = 1024
"""Circuits of one relay at once."""
CIRCUITS_PER_DESTINATION: Final = 400
CIRCUITS_PER_SUBNET: Final = 96
"""Circuits from one IPv4 /24 or IPv6 /48: a school or a carrier's NAT fits, one flooding machine is held."""
CIRCUITS_PER_SOURCE: Final = 4
"""Circuits of one (throw-away) peer id: one in use, one that replaces it, and two that are being given up."""
CIRCUITS_IN_PER_RELAY: Final = 400
"""Circuits that a destination accepts from one relay."""
CIRCUITS_IN_MAX: Final = 2048
"""Circuits that a destination accepts in all."""
CIRCUIT_PENDING_MAX: Final = 256
"""HOP streams at one relay that have not sent their request yet, or wait for their destination."""
CIRCUIT_PENDING_PER_SOURCE: Final = 4
CIRCUIT_REQUEST_S: Final = 10
"""Seconds for one HOP or STOP message to arrive or leave."""
CIRCUIT_DIAL_S: Final = 15
"""Seconds for a relay to reach a destination that it is not connected to."""
CIRCUIT_REDIAL_S: Final = 10
"""Seconds for which a relay does not try again to reach a destination that it could not reach."""
CIRCUIT_UPGRADE_S: Final = 15
"""Seconds for Noise and Yamux between the two ends of a new circuit."""
CIRCUIT_STALL_S: Final = 60
"""Seconds that one end may leave bytes unread before its circuit is cut."""
CIRCUIT_FAREWELL_S: Final = 5
"""Seconds that the slower end gets to finish once the other has closed."""
RESERVATION_S: Final = 3600
"""Seconds that a reservation lasts at a relay that grants them."""
ENTRY_CONNECT_S: Final = 5
"""Seconds for a client to connect to an entry before it tries the next."""
ENTRY_RETRY_S: Final = 60
"""Seconds that an entry stays at the end of the list after a failure of its own."""

# --- sessions ----------------------------------------------------------------------------------------------------
CELL_SIZE: Final = 4096
"""Bytes of every cell, whatever is inside."""
BUNDLE_CELLS: Final = (1, 2, 4, 8, 16)
"""Cells that a bundle may have; shorter ones are padded up."""
UNFINISHED_BUNDLES_MAX: Final = 32
"""Bundles of which a receiver keeps some fragments while it waits for the others."""
UNOPENED_CELLS_MAX: Final = 32
"""Cells that may belong to an epoch whose commit has not arrived yet."""
OLD_EPOCH_MS: Final = 10 * 60_000
"""How long the key of the epoch before is kept when the peer does not speak in the new one."""
NAME_MAX: Final = 64
"""UTF-8 bytes of a display name."""
AVATAR_SIZE: Final = 16
"""Bytes of an avatar seed: never an image."""
OPENING_LINE_MAX: Final = 280
"""UTF-8 bytes of the line that a seeker may send with a Hello."""
TEXT_MAX: Final = 8192
"""UTF-8 bytes of one message."""
KEY_PACKAGE_MAX: Final = 600
"""Bytes of an MLS key package with a basic credential of 16 bytes (mls-rs makes 300)."""
QUEUE_ADDRESS_MAX: Final = 400
"""Bytes of one encoded queue address inside a Hello or a Welcome."""
WELCOME_MAX: Final = 48 * 1024
"""Bytes of an MLS Welcome: 15 KiB at 50 members."""
ROOM_MEMBERS_MAX: Final = 50
MESSAGE_TTL_MS: Final = 24 * 3600_000
"""How long a sender keeps offering a message before it tells the person that it expired."""
SECOND_QUEUE_MS: Final = 60_000
"""Time without delivery after which a message is offered to the contact's second queue."""
SECOND_QUEUE_TRIES: Final = 3
"""Failed tries at one queue after which the second need not wait that long."""
RETRY_FIRST_MS: Final = 1_000
RETRY_MAX_MS: Final = 30_000
"""Bounds of the doubling pause between two tries at one queue."""
GAP_PATIENCE_MS: Final = 20_000
"""How long later messages wait for an earlier one before they are shown without it."""
COUNTER_AHEAD_MAX: Final = 1024
"""How far a sender's counter may run ahead of what has arrived without a gap."""
OUTBOX_MAX: Final = 256
"""Messages of one conversation that are neither delivered nor given up."""
REFRESH_MESSAGES: Final = 200
REFRESH_MS: Final = 30 * 60_000
"""The host of a one-to-one session renews its keys after so many messages or so long, if anything was said."""
UNDECRYPTABLE_AGAIN_MS: Final = 30_000
"""Pause before the same message is asked for again."""
HEARTBEAT_MS: Final = 40_000
"""How often a room's host says that it is there."""
ROOM_READ_ONLY_MS: Final = 120_000
ROOM_CLOSED_MS: Final = 10 * 60_000
"""Silence of the host after which a room takes no more messages, and after which it is closed."""
ROOM_AWOKEN_MS: Final = 60_000
"""What a member whose device slept has to read what the host said meanwhile, before silence counts."""
ROOM_BATCH_MS: Final = 250
"""How long a room's host gathers people to let in before it commits: those of one moment come in together."""
ROOM_REJOINS_MAX: Final = 3
"""How often a member that is out of step says Hello again by itself."""
SLOW_MODE_MAX_MS: Final = 3600_000
SEEN_HOST_MS: Final = 1_000
"""How long a room's host gathers messages before it says what it has seen."""
SEEN_MEMBER_MS: Final = 400
"""Per member: the span over which members spread their answer to the host, so that the first one spares the rest."""
EVIDENCE_KEPT: Final = 50
"""Signed texts of a supporter that a seeker's client keeps in memory until the closing screen."""
EVIDENCE_CHAPTERS_MAX: Final = 8
"""Sessions with one supporter, each begun by a Hello of its own, that one report shows."""
REPORT_OWN_MAX: Final = 200
"""Lines of the seeker's own that a report may include."""
REPORT_MAX: Final = 1 << 20
"""Bytes of one report bundle."""
PART_MAX: Final = 12 * 1024
"""Bytes of one piece of a document: four cells, with what is around it."""
PARTS_MAX: Final = 96
"""Pieces of a document: enough for the longest report."""
PEER_AWAY_MS: Final = 45_000
"""A message held so long without delivery means that the other person is away."""

HELLO_AGAIN_MS: Final = 120_000
"""A seeker who was let in, never came and has no queue any more is waited for so long: a client that lost its queues
says Hello again."""

OFFERS_AT_ONCE: Final = 3
"""Supporters whom one seeker asks at the same time."""
OFFER_MS: Final = 20_000
"""How long an offer stands at one supporter."""
OFFER_SEARCH_MS: Final = 60_000
"""Time without a yes after which a seeker is shown other ways."""
OFFER_CLAIM_MS: Final = 30_000
"""Time from a supporter's yes to the seeker's Hello, and from that to the Welcome, before either side moves on."""

# --- chain -------------------------------------------------------------------------------------------------------
DEV_CHAIN_ID: Final = 0x7761726D
"""Chain id of the embedded development chain ("warm"): what is signed for it is worth nothing anywhere else."""

# --- queues ------------------------------------------------------------------------------------------------------
QUEUE_CELLS_MAX: Final = 16
"""Cells of one append and of one batch to a reader: the largest bundle."""
QUEUE_FRAME_MAX: Final = 72 * 1024
"""Bytes of one frame on /warmline/queue/1: sixteen cells and their header."""
QUEUE_CAP_MAX: Final = 1024
DOOR_CAP_MAX: Final = 256
LOG_CAP_MAX: Final = 8192
"""Cells that one queue, door or room log may hold."""
CELL_TTL_MIN_MS: Final = 60_000
CELL_TTL_MAX_MS: Final = 14 * 24 * 3600_000
"""Bounds of the time that a node keeps a receipted cell which nobody acknowledges."""
QUEUE_LIFE_MIN_MS: Final = 60_000
QUEUE_LIFE_MAX_MS: Final = 30 * 24 * 3600_000
"""Bounds of the time that a queue outlives its owner's last sign of life."""
FOLLOW_HEARTBEAT_MS: Final = 25_000
"""Silence after which a node says to a follower that it is still there; the follower answers."""
FOLLOW_WINDOW: Final = 32
"""Cells sent to a follower beyond what it has taken: 128 KiB, half of Yamux's window, which so never closes."""
WORK_PARTS: Final = 16
WORK_BITS_MIN: Final = 6
WORK_BITS_MAX: Final = 12
"""Proof of work at a door: sixteen small puzzles rather than one large, so that its time hardly varies. Sixteen of
12 bits are 65,536 hashes on average and 115,000 in one case of a thousand: 2 s on a phone that does 55,000 a second."""
WORK_WINDOW_MS: Final = 5 * 60_000
"""How long a door's challenge lives; the one before is honoured too."""

# --- signals -----------------------------------------------------------------------------------------------------
SIGNAL_SIZE: Final = 128
"""Bytes of every signal, whatever it says."""
SIGNAL_EVERY_MS: Final = 2_000
"""A sender's signals are at least so far apart; what changes in between goes with the next one."""
SIGNAL_BATCH_MS: Final = 1_000
"""A node gathers a channel's signals for so long before it passes them on together."""
SIGNAL_CHANNEL_MAX: Final = 64
"""People on one channel: a full room, and some who came back before the node noticed that they had gone."""
SIGNAL_FRAME_MAX: Final = 12 * 1024
"""Bytes of one frame on /warmline/signal/1: a batch of 64 signals and its header."""
SIGNAL_AGAIN_MS: Final = 20_000
"""A sender repeats itself after so long without a change, for those who came later."""
SIGNAL_LIFE_MS: Final = 50_000
"""What somebody was last heard to be is forgotten after so long."""
SIGNAL_SILENCE_MS: Final = 75_000
"""A node lets go of somebody who has sent nothing for so long."""
TYPING_MS: Final = 6_000
"""Typing is over so long after the last key; the others stop showing it after a little longer."""
GESTURE_MS: Final = 6_000
"""A gesture is repeated for so long, so that one lost signal does not lose it."""

# --- feedback ----------------------------------------------------------------------------------------------------
KEY_ROOTS_MAX: Final = 4096
"""Key roots of feedback in one standing sheet: those of the epoch that is, and of the next."""
FEEDBACK_KEY_BITS: Final = 2048
FEEDBACK_KEY_SIZE: Final = FEEDBACK_KEY_BITS // 8
"""RSA keys that live one epoch, and the length of what they sign in bytes."""
FEEDBACK_VOUCHERS_MAX: Final = 1000
"""Vouchers of one supporter for one epoch."""
FEEDBACK_VOUCHERS_ALL: Final = 100_000
"""Vouchers of one issuer for one epoch, as the contract has it."""
FEEDBACK_PROOF_MAX: Final = 48
"""Hashes of a proof of inclusion: far more than a million supporters need, and a rating still fits one cell."""
FEEDBACK_FLIP: Final = (1, 5)
"""An answer is turned round with this chance before it leaves the device."""
FEEDBACK_STEP: Final = 10
"""Answers about one supporter become public in tens."""
FEEDBACK_WINDOW_EPOCHS: Final = 13
"""Epochs that count for an alarm, and for which an answer may wait until nine more come: a quarter of a year."""
FEEDBACK_SATURATION: Final = 20
"""Good answers beyond these do not make up for bad ones."""
FEEDBACK_ALARM_SHARE: Final = (3, 10)
FEEDBACK_ALARM_RISK: Final = (1, 100)
"""More than this share would not talk to the person again; so sure must one be of it."""
FEEDBACK_SLOTS: Final = 84
"""An epoch is cut into so many: sealed ratings are released at the beginning of one, many together."""
FEEDBACK_SLOTS_LATE: Final = 8
"""No rating is released in the last ones, so that all arrive before the cut-off."""
FEEDBACK_BATCH_MAX: Final = 64 << 20
"""Bytes of one epoch's batch: 150,000 answers."""
FEEDBACK_PAGE_BYTES: Final = 60 * 1024
"""Bytes of a batch, or of a sealed set, in one answer."""
FEEDBACK_DROPS_MAX: Final = 3
"""Epochs whose drops stand in a collector's record: the one that is, and the next two."""
FEEDBACK_DROP_CAP: Final = 32
"""Cells of one drop: 2,432 answers an epoch at each of two nodes, for which 12 MiB are kept free there."""
FEEDBACK_GRACE: Final = 28
"""For one part in so many of an epoch after its end, collectors wait for each other: six hours of a week."""
FEEDBACK_HEARD_MAX: Final = 32
"""Announcements that a collector tells on: two of each collector that a contract can have."""
FEEDBACK_KEPT_S: Final = 90 * 86_400
"""For so long a collector serves what it announced, voted for and published."""
COLLECTOR_LIFE_MS: Final = 7 * 24 * 3_600_000
