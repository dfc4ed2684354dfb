//! All doors, each on a port of its own, before one gate.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate::door::overload::{DEFAULT_CONCURRENT_REQUESTS, Overload};
use tidegate::gate::Gate;
use tidegate::grpc::{DeniedBody, GrpcDoor, GrpcOptions};
use tidegate::http::{HttpDoor, LegacyFields, Readiness};
use tidegate::net::{ListenOptions, Listeners, Server, StreamServer, bind};
use tidegate::resp::{Pipelines, RespDoor, RespOptions};
use tidegate_engine::{Engine, ManualClock};
use tidegate_store::BucketStore;
use tidegate_wire::identity::{IdentityPolicy, Ipv6Prefix};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cases::RULES;
use crate::common::{START, compile, limits, options};

pub(crate) struct Site<S> {
    pub(crate) gate: Gate<S, ManualClock>,
    pub(crate) clock: ManualClock,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) resp: SocketAddr,
    stop: watch::Sender<()>,
    servers: JoinSet<()>,
}

impl<S: BucketStore> Site<S> {
    pub(crate) async fn start(store: S) -> Self {
        let clock = ManualClock::new(START);
        let gate = Gate::from(Engine::with_parts(compile(RULES), store, clock.clone(), None));
        let readiness = Readiness::default();
        readiness.set(true);
        let (stop, _) = watch::channel(());
        let stopped = || {
            let mut stopped = stop.subscribe();
            async move {
                // An error says that the other end is gone, which is the end.
                let _ = stopped.changed().await;
            }
        };
        let mut servers = JoinSet::new();

        let (listener, http) = listen();
        let door = HttpDoor::new(gate.clone(), options(), readiness.clone());
        let (server, end) = (Server::new("http", limits()).unwrap(), stopped());
        servers.spawn(async move {
            let _ = server.run(listener, move |peer| door.service(peer), end).await;
        });

        let (listener, grpc) = listen();
        let grpc_options = GrpcOptions {
            identity: IdentityPolicy::default(),
            legacy_fields: LegacyFields::Omit,
            denied_body: DeniedBody::Omit,
            body_timeout: Duration::from_secs(10),
            overload: Overload::new("grpc", DEFAULT_CONCURRENT_REQUESTS),
        };
        let door = GrpcDoor::new(gate.clone(), grpc_options, &readiness).unwrap();
        let (server, end) = (Server::new("grpc", limits()).unwrap(), stopped());
        servers.spawn(async move {
            let _ = server.run(listener, move |_| door.service(), end).await;
        });

        let (listener, resp) = listen();
        let resp_options = RespOptions {
            pipelines: Pipelines::Together,
            ipv6_prefix: Ipv6Prefix::default(),
            overload: Overload::new("resp", DEFAULT_CONCURRENT_REQUESTS),
            tls: None,
        };
        let door = RespDoor::new(gate.clone(), resp_options);
        let (server, end) = (StreamServer::new("resp", limits()).unwrap(), stopped());
        let listeners = Listeners { tcp: Some(listener), ..Listeners::default() };
        servers.spawn(async move {
            let _ = server.run(listeners, door, end).await;
        });

        Self { gate, clock, http, grpc, resp, stop, servers }
    }

    /// Ends all doors; clients are gone by now.
    pub(crate) async fn stop(mut self) {
        drop(self.stop);
        while let Some(ended) = self.servers.join_next().await {
            ended.unwrap();
        }
    }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = bind(&ListenOptions::new("127.0.0.1:0".parse().unwrap(), "--listen")).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}
