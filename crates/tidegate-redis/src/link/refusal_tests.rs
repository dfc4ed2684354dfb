//! Error lines as servers write them (Redis 6.2 and 7.0, Valkey 8), and what they mean.

use super::*;

fn classify(line: &str) -> Refusal {
    Refusal::classify(line, &Address::tcp("asked", 6_379))
}

/// Line, meaning, and whether it: proves that nothing was executed, is transient, is for the settings to mend.
fn check(line: &str, meaning: &Refusal, [proves, transient, misconfigured]: [bool; 3]) {
    let refusal = classify(line);
    assert_eq!(&refusal, meaning, "{line}");
    assert_eq!(refusal.proves_not_executed(), proves, "proves: {line}");
    assert_eq!(refusal.is_transient(), transient, "transient: {line}");
    assert_eq!(refusal.is_misconfigured(), misconfigured, "misconfigured: {line}");
    assert_eq!(refusal.to_string().is_empty(), line.is_empty());
}

const SENT_AGAIN: [bool; 3] = [true, true, false];
const SETTINGS: [bool; 3] = [true, false, true];
const UNCERTAIN: [bool; 3] = [false, false, false];

#[test]
fn what_a_server_refuses_for_a_while() {
    for (line, meaning) in [
        ("NOSCRIPT No matching script. Please use EVAL.", Refusal::NoScript),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Refusal::TryAgain),
        ("CLUSTERDOWN Hash slot not served", Refusal::ClusterDown),
        ("CLUSTERDOWN The cluster is down", Refusal::ClusterDown),
        ("LOADING Redis is loading the dataset in memory", Refusal::Loading),
        ("READONLY You can't write against a read only replica.", Refusal::ReadOnly),
        (
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            Refusal::MasterDown,
        ),
        ("OOM command not allowed when used memory > 'maxmemory'.", Refusal::OutOfMemory),
        (
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            Refusal::Busy,
        ),
        ("ERR max number of clients reached", Refusal::TooManyClients),
        ("ERR max number of clients + cluster connections reached", Refusal::TooManyClients),
    ] {
        check(line, &meaning, SENT_AGAIN);
    }
    for line in [
        "NOREPLICAS Not enough good replicas to write.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    ] {
        check(line, &Refusal::NotWritable(line.into()), SENT_AGAIN);
    }
}

#[test]
fn redirections_name_slot_and_node() {
    let at = |host: &str| Address::tcp(host, 6_381);
    for (text, host) in [
        ("10.0.0.1:6381", "10.0.0.1"),
        ("redis-0.svc:6381", "redis-0.svc"),
        ("2001:db8::1:6381", "2001:db8::1"),
        (":6381", "asked"),
        ("?:6381", "asked"),
    ] {
        let moved = Refusal::Moved { slot: 3_999, address: at(host) };
        check(&format!("MOVED 3999 {text}"), &moved, SENT_AGAIN);
        check(&format!("ASK 3999 {text}"), &Refusal::Ask { slot: 3_999, address: at(host) }, SENT_AGAIN);
    }
    for broken in
        ["", "3999", "3999 host", "x host:1", "16384 host:1", "3999 host:0", "3999 host:65536", "-1 host:1"]
    {
        let line = format!("MOVED {broken}");
        assert_eq!(classify(&line), Refusal::Other(line.as_str().into()));
    }
}

#[test]
fn what_the_settings_must_mend() {
    for (line, meaning) in [
        ("NOAUTH Authentication required.", Refusal::NoAuth),
        ("NOAUTH HELLO must be called with the client already authenticated", Refusal::NoAuth),
        ("WRONGPASS invalid username-password pair or user is disabled.", Refusal::WrongPass),
        ("ERR invalid password", Refusal::WrongPass),
        ("DENIED Redis is running in protected mode because protected mode is enabled", Refusal::Denied),
        ("CROSSSLOT Keys in request don't hash to the same slot", Refusal::CrossSlot),
    ] {
        check(line, &meaning, SETTINGS);
    }
    for line in [
        "NOPERM User limiter has no permissions to run the 'evalsha' command",
        "NOPERM this user has no permissions to run the 'evalsha' command",
        "NOPERM No permissions to access a key",
    ] {
        check(line, &Refusal::NoPerm(line.into()), SETTINGS);
    }
}

#[test]
fn a_script_that_fails_may_have_written() {
    for line in [
        "ERR user_script:1: Script attempted to access nonexistent global variable 'x' script: ab12, on @user_script:1.",
        "ERR Error compiling script (new function): user_script:1: '=' expected near 'x'",
        "ERR Error running script (call to f_ab12): @user_script:1: user_script:1: attempt to index a nil value",
        "ERR value is not an integer or out of range script: ab12, on @user_script:3.",
        "ERR This Redis command is not allowed from script script: ab12, on @user_script:1.",
    ] {
        check(line, &Refusal::Script(line.into()), UNCERTAIN);
    }
    check(
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        &Refusal::WrongType,
        UNCERTAIN,
    );
    let within =
        "NOPERM User limiter has no permissions to run the 'set' command script: ab12, on @user_script:2.";
    check(within, &Refusal::NoPerm(within.into()), [false, false, true]);
}

#[test]
fn a_script_that_may_not_write_has_written_nothing() {
    for (line, meaning) in [
        (
            "OOM command not allowed when used memory > 'maxmemory'. script: ab12, on @user_script:1.",
            Refusal::OutOfMemory,
        ),
        (
            "READONLY You can't write against a read only replica. script: ab12, on @user_script:1.",
            Refusal::ReadOnly,
        ),
        (
            "ERR Error running script (call to f_ab12): @user_script:1: @user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.",
            Refusal::OutOfMemory,
        ),
        (
            "ERR Error running script (call to f_ab12): @user_script:12: -READONLY You can't write against a read only replica.",
            Refusal::ReadOnly,
        ),
    ] {
        check(line, &meaning, SENT_AGAIN);
    }
    check(
        "ERR Error running script (call to f_ab12): @user_script:1: WRONGTYPE Operation against a key holding the wrong kind of value",
        &Refusal::WrongType,
        UNCERTAIN,
    );
}

#[test]
fn anything_else_is_kept_as_it_is() {
    for line in [
        "ERR unknown command 'FOO'",
        "ERR DB index is out of range",
        "LATE by 12 us",
        "ERR",
        "",
        "NOPROTO no",
    ] {
        check(line, &Refusal::Other(line.into()), UNCERTAIN);
    }
}

#[test]
fn only_replicas_are_the_wrong_server() {
    assert!(Refusal::ReadOnly.is_wrong_server() && Refusal::MasterDown.is_wrong_server());
    assert!(!Refusal::Loading.is_wrong_server() && !Refusal::OutOfMemory.is_wrong_server());
}
