//! The tables as a spreadsheet reads them.

use super::super::report::{Outcome, Report, RuleSample, Sample};
use super::super::stream::ReadStats;
use super::*;

fn written(section: CsvSection) -> String {
    let mut report = Report::new();
    report.declare_rule("shop", "quiet");
    for key in ["=cmd()", "a,\"b\"", "plain"] {
        let verdict = RuleSample {
            domain: "shop",
            rule: "user",
            key,
            allowed: false,
            shadow: false,
            binding: true,
            remaining: 0,
        };
        report.record(&Sample {
            at_us: 1_431_857_103_000_000,
            outcome: Outcome::Denied,
            verdicts: &[verdict],
        });
    }
    let mut out = Vec::new();
    write_csv(&report.summary(&ReadStats::default(), 10), section, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn rules() {
    assert_eq!(
        written(CsvSection::Rules),
        "domain,rule,evaluated,allowed,denied,binding_denials,shadow_denied,distinct_keys,keys_complete,\
         lowest_remaining,first_denial\n\
         shop,quiet,0,0,0,0,0,0,true,,\n\
         shop,user,3,0,3,3,0,3,true,0,2015-05-17T10:05:03Z\n"
    );
}

#[test]
fn keys_are_quoted_and_never_formulas() {
    assert_eq!(
        written(CsvSection::Keys),
        "domain,rule,key,evaluated,denied,shadow_denied\n\
         shop,user,'=cmd(),1,1,0\n\
         shop,user,\"a,\"\"b\"\"\",1,1,0\n\
         shop,user,plain,1,1,0\n"
    );
    assert_eq!(cell("=a,b"), "\"'=a,b\"");
    assert_eq!(cell("a\nb"), "\"a\nb\"");
}

#[test]
fn timeline() {
    assert_eq!(
        written(CsvSection::Timeline),
        "start,seconds,allowed,waited,denied\n2015-05-17T10:05:03Z,1,0,0,3\n"
    );
}

#[test]
fn names_are_read_back() {
    for name in CsvSection::NAMES {
        assert_eq!(name.parse::<CsvSection>().unwrap().to_string(), name);
    }
    assert!("all".parse::<CsvSection>().is_err());
}
