//! ZooKeeper's keys that are accepted without meaning anything here, and those that are refused
//! because ignoring them would leave open what they mean to close.

/// Keys without meaning here; one that ends with `.` stands for all that begin with it.
const IGNORED: &[&str] = &[
    "admin.",
    "advancedFlowControlEnabled",
    "audit.enable",
    "autopurge.",
    "clientPortListenBacklog",
    "closeSessionTxn.enabled",
    "cnxTimeout",
    "commitProcessor.",
    "connectionMax",
    "connectionMaxTokens",
    "connectionTokenFillCount",
    "connectionTokenFillTime",
    "digest.enabled",
    "electionAlg",
    "electionPortBindRetry",
    "extendedTypesEnabled",
    "flushDelay",
    "forceSync",
    "fsync.",
    "globalOutstandingLimit",
    "jmx.log4j.disable",
    "largeRequestMaxBytes",
    "largeRequestThreshold",
    "leader.",
    "leaderServes",
    "learner.",
    "localSessionsEnabled",
    "localSessionsUpgradingEnabled",
    "maxBatchSize",
    "maxCnxns",
    "maxGetChildrenResponseCacheSize",
    "maxResponseCacheSize",
    "maxWriteQueuePollTime",
    "metricsProvider.",
    "multiAddress.",
    "netty.",
    "nio.",
    "observerMasterPort",
    "quorumCnxnTimeoutMs",
    "readonlymode.enabled",
    "reconfigEnabled",
    "request_throttle",
    "requestThrottle",
    "requestThrottleLimit",
    "serverCnxnFactory",
    "skipACL",
    "snapCount",
    "snapSizeLimitInKb",
    "snapshot.",
    "standaloneEnabled",
    "syncEnabled",
    "tcpKeepAlive",
    "txnLogSizeLimitInKb",
    "watchManagerName",
    "zookeeper.",
];

/// Keys that must not be ignored in silence.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("secureClientPort", "there is no TLS yet; remove the line"),
    ("ssl.", "there is no TLS yet; remove the line"),
    ("sslQuorum", "there is no TLS between nodes yet"),
    ("client.portUnification", "there is no TLS yet"),
    ("portUnification", "there is no TLS between nodes yet"),
    ("authProvider", "only world, auth and digest exist"),
    ("requireClientAuthScheme", "there is no SASL yet"),
    ("sessionRequireClientSASLAuth", "there is no SASL yet"),
    ("enforce.auth.", "authentication cannot be enforced yet"),
    ("quorum.auth.", "there is no SASL between nodes yet"),
    ("quorum.cnxn.", "there is no SASL between nodes yet"),
    (
        "DigestAuthenticationProvider.",
        "no super user can be set here",
    ),
    ("group.", "every participant has one vote"),
    ("weight.", "every participant has one vote"),
    (
        "dynamicConfigFile",
        "write the server.N lines into this file",
    ),
];

fn matches(pattern: &str, key: &str) -> bool {
    match pattern.ends_with('.') {
        true => key.starts_with(pattern),
        false => key == pattern || (pattern == "authProvider" && key.starts_with("authProvider.")),
    }
}

/// Why `key` is refused; a switch that is off may stay.
pub fn unsupported(key: &str, value: &str) -> Option<&'static str> {
    if value.is_empty() || value.eq_ignore_ascii_case("false") {
        return None;
    }
    let found = UNSUPPORTED
        .iter()
        .find(|(pattern, _)| matches(pattern, key));
    found.map(|(_, reason)| *reason)
}

/// Is `key` one of ZooKeeper's without meaning here?
pub fn is_ignored(key: &str) -> bool {
    let switched_off = UNSUPPORTED.iter().map(|(pattern, _)| *pattern);
    let mut all = IGNORED.iter().copied().chain(switched_off);
    all.any(|pattern| matches(pattern, key))
}
