//! Money: decimal amounts with a currency, never floating point.

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy};

use crate::model::failure::{Failure, Kind};
use crate::model::playbook::Budget;
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

/// An amount to the cent, half a cent up.
pub fn cents(amount: Decimal) -> Decimal {
    amount.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero)
}

/// Why a bill is more than its budgets allow, if it is: with the line that breaks it, which is the first one that the
/// budget has no room for. Without any budget, everything is allowed.
pub fn over_budget(budgets: &[Budget], lines: &[PriceLine]) -> Option<Failure> {
    if budgets.is_empty() {
        return None;
    }
    for sum in totals(lines) {
        let Some(budget) = budgets.iter().map(Budget::money).find(|budget| budget.currency == sum.currency) else {
            let known: Vec<&str> = budgets.iter().map(|budget| budget.currency.as_str()).collect();
            let text = format!("the bill is {sum} a month, which a budget in {} cannot judge", known.join(" and "));
            return Some(Failure::new(Kind::Budget, text).hint(format!(
                "add one, such as `budget = [{{ monthly = 40, currency = \"{}\" }}, {{ monthly = {}, currency = \"{}\" }}]`; \
                 nothing was done",
                known[0],
                sum.amount.ceil(),
                sum.currency
            )));
        };
        let mut spent = Decimal::ZERO;
        for line in lines.iter().filter(|line| line.monthly.currency == sum.currency) {
            spent += line.monthly.amount;
            if spent > budget.amount {
                let text = format!(
                    "the plan costs {sum} a month, more than the budget of {budget}: there is no room for {} with {}",
                    line.what, line.monthly
                );
                let hint = "raise `budget`, or choose less, such as a smaller `size`; nothing was done";
                // A later line may take something off again, such as compute that a plan includes.
                if sum.amount > budget.amount {
                    return Some(Failure::new(Kind::Budget, text).hint(hint));
                }
            }
        }
    }
    None
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
