//! Joins and polls in a closed loop, beside a bare axum that answers the same.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tidegate_bench::contest::{self, Driven, middle, ratio};
use tidegate_bench::http_load::{Pace, drive};
use tidegate_bench::report::{Cell, Table};
use tidegate_bench::server::{Affinity, Door, Server, Tidegate, words};
use tidegate_bench::shape;
use tidegate_bench::template::Template;

use super::{Arguments, visitors};

/// Who is asked.
const NAMES: [&str; 3] = ["axum JSON echo", "tidegate, in memory", "tidegate, synced journal"];

pub(crate) fn measure(
    arguments: &Arguments,
    folder: &Path,
    affinity: Affinity,
    title: &str,
) -> anyhow::Result<[Table; 2]> {
    let subject = &arguments.subject;
    let echo = std::env::current_exe()?.with_file_name("axum-echo");
    let echo =
        Server::start(&echo, affinity, |address| words(&["--listen", address])).context("axum-echo")?;
    let tidegate = |further: &[String]| {
        let (program, rules) = (&subject.tidegate, &subject.rules);
        Tidegate { program, rules, door: Door::Http, database: "none" }.start(affinity, further)
    };
    let state = folder.join("rates").display().to_string();
    let servers = [echo, tidegate(&[])?, tidegate(&words(&["--state-file", &state]))?];
    let pace = Pace {
        connections: arguments.connections,
        keys: 1,
        measured: Duration::from_secs_f64(arguments.seconds),
    };
    let joins = [0, 1, 2].map(|_| Template::one_of(vec![visitors::request("joins", "join", "")]));
    let in_line = |server: &Server| -> anyhow::Result<Template> {
        let cookies = visitors::join(server.address, "polls", arguments.visitors)?;
        Ok(Template::one_of(
            cookies.iter().map(|cookies| visitors::request("polls", "poll", cookies)).collect(),
        ))
    };
    let polls = [in_line(&servers[1])?, in_line(&servers[1])?, in_line(&servers[2])?];
    let table = |what: &str, requests: &[Template; 3]| -> anyhow::Result<Table> {
        let answers = (servers.iter().zip(requests))
            .map(|(server, request)| shape::of_answer(server.address, request))
            .collect::<Result<Vec<_>, _>>()?;
        shape::compare(NAMES.into_iter().zip(&answers))?;
        let runs = contest::in_turn(servers.len(), arguments.rounds, |index| {
            drive(&servers[index], &requests[index], &pace).map(Some)
        })?;
        Ok(rows(&format!("{title}: {what}"), &answers, &runs))
    };
    Ok([table("joins, each of a new visitor", &joins)?, table("polls", &polls)?])
}

fn rows(title: &str, answers: &[shape::Shape], all: &[Vec<Driven>]) -> Table {
    let columns = [
        "", "CPU us", "user", "kernel", "/ first", "req/s", "/ first", "p50 us", "p90", "p99", "load %",
        "answer B",
    ];
    let mut table = Table::new(title, &columns);
    for ((name, answer), runs) in NAMES.iter().zip(answers).zip(all) {
        let latency = |share| Cell::Figure(middle(runs, |run| run.latency_us(share)), 0);
        table.row([
            Cell::text(*name),
            Cell::Figure(middle(runs, Driven::cpu_us), 2),
            Cell::Figure(middle(runs, |run| run.micros_each(|cpu| cpu.user)), 2),
            Cell::Figure(middle(runs, |run| run.micros_each(|cpu| cpu.kernel)), 2),
            Cell::Figure(ratio(runs, &all[0], Driven::cpu_us), 3),
            Cell::Figure(middle(runs, Driven::rate), 0),
            Cell::Figure(ratio(runs, &all[0], Driven::rate), 3),
            latency(0.5),
            latency(0.9),
            latency(0.99),
            Cell::Figure(middle(runs, |run| run.load_share * 100.0), 0),
            Cell::Figure(answer.bytes as f64, 0),
        ]);
    }
    table
}
