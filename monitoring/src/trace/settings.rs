//! What an operator says of traces, in a file or by OpenTelemetry's own variables.

use http::Uri;

/// Standard variables that name the collector, the first one first.
const VARIABLES: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// The standard variable that switches all of it off.
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// In a file: nowhere, whatever the environment says.
const NOWHERE: &str = "none";

/// Why something is no collector's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{address}' is no collector's address: it must be http://host:port (there is no TLS to it)"
)]
pub struct BadAddress {
    /// What was given.
    pub address: String,
}

/// What an operator says of traces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceSettings {
    endpoint: Option<String>,
    /// The environment is not asked.
    decided: bool,
    sample: f64,
}

impl TraceSettings {
    /// As a file says it: the collector's address, `none`, or nothing, which leaves it to the environment; and which share of the
    /// requests that say nothing of a trace begins one, 0 to 1.
    ///
    /// # Errors
    /// If the address is none.
    pub fn new(address: Option<&str>, sample: f64) -> Result<Self, BadAddress> {
        let endpoint = match address {
            None | Some(NOWHERE) => None,
            Some(address) => Some(checked(address)?),
        };
        Ok(Self {
            endpoint,
            decided: address.is_some(),
            sample,
        })
    }

    /// What was left to the environment is taken from there. What makes no sense there is told and left: it may be meant for
    /// somebody else.
    #[must_use]
    pub fn or_environment(self) -> Self {
        self.or(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn or(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        let disabled = variable(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if disabled {
            self.endpoint = None;
        }
        if self.decided || disabled {
            return self;
        }
        let named = VARIABLES
            .iter()
            .find_map(|name| Some((*name, variable(name)?)));
        if let Some((name, address)) = named {
            match checked(&address) {
                Ok(endpoint) => self.endpoint = Some(endpoint),
                Err(error) => {
                    tracing::warn!(%error, "{name} is left alone: no spans of traces are sent")
                }
            }
        }
        self
    }

    /// Where spans go, if anywhere.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// The share of other requests that is followed.
    #[must_use]
    pub fn sample(&self) -> f64 {
        self.sample
    }
}

fn checked(address: &str) -> Result<String, BadAddress> {
    let uri = address.parse::<Uri>().ok();
    let good = uri.is_some_and(|uri| {
        uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty())
    });
    let bad = || BadAddress {
        address: address.to_owned(),
    };
    good.then(|| address.to_owned()).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_must_be_one() {
        for bad in [
            "",
            "localhost:4317",
            "https://localhost:4317",
            "http://",
            "http:///x",
        ] {
            assert!(TraceSettings::new(Some(bad), 0.0).is_err(), "{bad}");
        }
        for good in ["http://localhost:4317", "http://[::1]:4317/", "http://c"] {
            let settings = TraceSettings::new(Some(good), 0.0).unwrap();
            assert_eq!(settings.endpoint(), Some(good));
        }
    }

    #[test]
    fn the_file_counts_before_the_environment() {
        let of = |file: Option<&str>, variables: &[(&str, &str)]| {
            let found = |name: &str| {
                let mut all = variables.iter();
                let value = all.find(|(known, _)| *known == name);
                value.map(|(_, value)| (*value).to_owned())
            };
            let settings = TraceSettings::new(file, 0.5).unwrap().or(found);
            settings.endpoint().map(str::to_owned)
        };
        let general = (VARIABLES[1], "http://general:1");
        let traces = (VARIABLES[0], "http://traces:1");
        let to = |endpoint: &str| Some(endpoint.to_owned());
        assert_eq!(of(None, &[]), None);
        assert_eq!(of(None, &[general]), to("http://general:1"));
        assert_eq!(of(None, &[general, traces]), to("http://traces:1"));
        assert_eq!(of(Some("http://file:1"), &[traces]), to("http://file:1"));
        assert_eq!(of(Some("none"), &[traces]), None);
        assert_eq!(of(None, &[traces, (DISABLED, "TRUE")]), None);
        assert_eq!(of(Some("http://file:1"), &[(DISABLED, "true")]), None);
        assert_eq!(of(None, &[(VARIABLES[1], "https://somebody:443")]), None);
    }
}
