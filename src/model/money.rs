//! Money: decimal amounts with a currency, never floating point.

use std::fmt;

use rust_decimal::Decimal;

use crate::model::resource::Address;

/// An amount per month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money {
    /// How much.
    pub amount: Decimal,
    /// The currency's code as the provider gives it, such as `EUR`.
    pub currency: String,
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} {}", self.amount.round_dp(2), self.currency)
    }
}

/// One line of a bill: what costs how much per month, net of value added tax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceLine {
    /// What it is paid for.
    pub address: Address,
    /// That in words.
    pub what: String,
    /// Net price per month.
    pub monthly: Money,
}

/// Adds lines up by currency; different currencies are never added together.
pub fn totals(lines: &[PriceLine]) -> Vec<Money> {
    let mut sums: Vec<Money> = Vec::new();
    for line in lines {
        match sums.iter_mut().find(|sum| sum.currency == line.monthly.currency) {
            Some(sum) => sum.amount += line.monthly.amount,
            None => sums.push(line.monthly.clone()),
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(amount: &str, currency: &str) -> PriceLine {
        let monthly = Money { amount: amount.parse().unwrap(), currency: currency.into() };
        let address = Address { provider: "hetzner", place: None, kind: "server", name: "web".into() };
        PriceLine { address, what: "x".into(), monthly }
    }

    #[test]
    fn currencies_are_kept_apart_and_cents_are_exact() {
        let sums =
            totals(&[line("5.49", "EUR"), line("0.10", "USD"), line("0.5000000000", "EUR"), line("0.20", "USD")]);
        assert_eq!(sums.iter().map(Money::to_string).collect::<Vec<_>>(), ["5.99 EUR", "0.30 USD"]);
    }
}
