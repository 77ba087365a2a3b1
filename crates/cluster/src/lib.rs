//! Membership, hash ring and replica sets, quorum, connection pool.
