//! A configuration made fit for a test: other ports, another folder, nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use super::directive::{Directive, parse};

/// Directives that a test sets, wherever they stand in the template.
const REPLACED: [&str; 8] = [
    "daemon",
    "pid",
    "user",
    "client_body_temp_path",
    "proxy_temp_path",
    "fastcgi_temp_path",
    "uwsgi_temp_path",
    "scgi_temp_path",
];

/// The template with ports from `listen`, asked for by 0, 1, 2 …, and everything it writes in `dir`.
pub(super) fn relocate(
    template: &str,
    dir: &Path,
    upstreams: &BTreeMap<String, Vec<SocketAddr>>,
    listen: impl FnMut(usize) -> SocketAddr,
) -> String {
    let mut config = parse(template);
    if !config.iter().any(|directive| directive.name() == "http") {
        config = vec![Directive::block("http", config)];
    }
    if !config.iter().any(|directive| directive.name() == "events") {
        config.push(Directive::block("events", Vec::new()));
    }
    let mut change = Change { dir, upstreams, listen, listened: 0, named: Vec::new() };
    change.visit(&mut config);
    for name in upstreams.keys() {
        assert!(change.named.contains(name), "the template has no upstream {name}");
    }
    let http = config.iter_mut().find(|directive| directive.name() == "http");
    let temporary = REPLACED.iter().filter(|name| name.ends_with("_temp_path"));
    let temporary = temporary.map(|name| Directive::simple(format!("{name} {}", dir.join(name).display())));
    http.and_then(|http| http.block.as_mut()).expect("an http block").extend(temporary);
    let mut head = vec![
        Directive::simple("daemon off"),
        Directive::simple(format!("pid {}", dir.join("nginx.pid").display())),
    ];
    if rustix::process::getuid().is_root() {
        // Workers of another user could not write into the folder.
        head.push(Directive::simple("user root"));
    }
    head.iter().chain(&config).map(ToString::to_string).collect()
}

struct Change<'a, F> {
    dir: &'a Path,
    upstreams: &'a BTreeMap<String, Vec<SocketAddr>>,
    listen: F,
    listened: usize,
    /// Upstreams found.
    named: Vec<String>,
}

impl<F: FnMut(usize) -> SocketAddr> Change<'_, F> {
    fn visit(&mut self, block: &mut Vec<Directive>) {
        block.retain(|directive| !REPLACED.contains(&directive.name()));
        let mut listens = false;
        block.retain(|directive| directive.name() != "listen" || !std::mem::replace(&mut listens, true));
        for directive in block {
            match directive.name() {
                "listen" => {
                    directive.words[1] = (self.listen)(self.listened).to_string();
                    self.listened += 1;
                }
                "access_log" | "error_log" => self.move_log(directive),
                "upstream" => self.replace_servers(directive),
                _ => {}
            }
            if let Some(block) = &mut directive.block {
                self.visit(block);
            }
        }
    }

    fn move_log(&self, directive: &mut Directive) {
        let name = Path::new(&directive.words[1]).file_name();
        let special = directive.words[1] == "off" || directive.words[1].starts_with("syslog:");
        if let (Some(name), false) = (name, special) {
            directive.words[1] = self.dir.join(name).display().to_string();
        }
    }

    fn replace_servers(&mut self, upstream: &mut Directive) {
        let name = upstream.words[1].clone();
        let (Some(servers), Some(block)) = (self.upstreams.get(&name), &mut upstream.block) else { return };
        let first = block.iter().position(|directive| directive.name() == "server");
        let parameters = first.map_or(Vec::new(), |first| block[first].words.split_off(2));
        block.retain(|directive| directive.name() != "server");
        let servers = servers.iter().map(|server| {
            let mut words = vec!["server".to_owned(), server.to_string()];
            words.extend(parameters.iter().cloned());
            Directive { words, block: None }
        });
        // A balancing method must stand before `keepalive`, and servers may stand anywhere.
        block.extend(servers);
        self.named.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relocated(template: &str, upstreams: &[(&str, &[&str])]) -> String {
        let upstreams = upstreams.iter().map(|(name, servers)| {
            ((*name).to_owned(), servers.iter().map(|server| server.parse().unwrap()).collect())
        });
        let mut port = 5_000;
        relocate(template, Path::new("/tmp/x"), &upstreams.collect(), |index| {
            port += 1;
            assert_eq!(port, 5_001 + u16::try_from(index).unwrap());
            SocketAddr::from(([127, 0, 0, 1], port))
        })
    }

    #[test]
    fn servers_are_replaced_and_the_rest_of_an_upstream_stays() {
        let text = relocated(
            "upstream tidegate { hash $arg_user_id consistent; server a:1 max_fails=1 fail_timeout=2s; server b:2; keepalive 8; }\n\
             upstream other { server c:3; }",
            &[("tidegate", &["127.0.0.1:7", "127.0.0.1:8"])],
        );
        assert!(text.contains(
            "upstream tidegate {\nhash $arg_user_id consistent;\nkeepalive 8;\n\
             server 127.0.0.1:7 max_fails=1 fail_timeout=2s;\nserver 127.0.0.1:8 max_fails=1 fail_timeout=2s;\n}\n"
        ), "{text}");
        assert!(text.contains("server c:3;"));
    }

    #[test]
    fn every_server_gets_one_port_and_keeps_its_parameters() {
        let text = relocated(
            "server { listen 443 ssl; listen [::]:443 ssl; }\nserver { listen unix:/run/x; location / { return 204; } }",
            &[],
        );
        assert!(
            text.contains("listen 127.0.0.1:5001 ssl;") && text.contains("listen 127.0.0.1:5002;"),
            "{text}"
        );
        assert_eq!(text.matches("listen").count(), 2);
    }

    #[test]
    fn what_it_writes_goes_to_its_folder() {
        let text = relocated(
            "user www-data; pid /run/nginx.pid; error_log /var/log/nginx/error.log warn;\n\
             events { worker_connections 10; } # not { read\n\
             http { access_log /var/log/nginx/access.log main; proxy_temp_path /x; server { access_log off; } }",
            &[],
        );
        for there in [
            "pid /tmp/x/nginx.pid;",
            "error_log /tmp/x/error.log warn;",
            "worker_connections 10;",
            "access_log /tmp/x/access.log main;",
            "access_log off;",
            "proxy_temp_path /tmp/x/proxy_temp_path;",
        ] {
            assert_eq!(text.matches(there).count(), 1, "{there} in {text}");
        }
        assert!(!text.contains("www-data") && !text.contains("/run/") && !text.contains("not {"));
    }

    #[test]
    fn quotes_and_variables_are_words() {
        let line = "log_format main '{\"a\": \"$b\"; \\' }' \"x;\" ${host}:$port;";
        let text = relocated(line, &[]);
        assert!(text.contains("log_format main '{\"a\": \"$b\"; \\' }' \"x;\" ${host}:$port;"), "{text}");
    }

    #[test]
    #[should_panic(expected = "no upstream tidegate")]
    fn an_upstream_that_is_not_there_is_an_error() {
        relocated("server { listen 80; }", &[("tidegate", &["127.0.0.1:1"])]);
    }
}
