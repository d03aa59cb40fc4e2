# Values of R survival for tests/analytics/statistics/test_r_values.py.
# Run:  Rscript tests/oracle/r_values.R <folder with rossi.csv, lung.csv, larynx.csv> <truth folder> > tests/oracle/r_values.json
# The CSV files are written by tests/oracle/write_datasets.py from lifelines.datasets (same rows in both programs).
suppressMessages({library(survival); library(jsonlite)})
arguments <- commandArgs(trailingOnly = TRUE)
data <- function(name) read.csv(file.path(arguments[1], paste0(name, ".csv")))
rossi <- data("rossi"); lung <- data("lung"); larynx <- data("larynx")
larynx$stage <- larynx$Stage_II + 2 * larynx$Stage_III + 3 * larynx$Stage_IV
out <- list(versions = list(R = R.version.string, survival = as.character(packageVersion("survival"))))

model <- function(fit) {
  s <- summary(fit)$coefficients
  list(coef = unname(coef(fit)), se = unname(sqrt(diag(vcov(fit)))), p = unname(s[, ncol(s)]),
       loglik = fit$loglik, names = names(coef(fit)), concordance = unname(fit$concordance["concordance"]))
}
zph <- function(fit, transform) {
  z <- cox.zph(fit, transform = transform, terms = FALSE)$table
  list(names = rownames(z), chisq = unname(z[, 1]), p = unname(z[, 3]))
}
km <- function(fit, times) {
  s <- summary(fit, times = times, extend = TRUE)
  list(time = s$time, survival = s$surv, se = s$std.err, lower = s$lower, upper = s$upper, at_risk = s$n.risk)
}

# ties: many arrests share a week
rossi_cox <- coxph(Surv(week, arrest) ~ fin + age + prio, data = rossi, ties = "efron")
out$rossi_cox <- model(rossi_cox)
out$rossi_zph <- zph(rossi_cox, "km")
out$rossi_cox_strata <- model(coxph(Surv(week, arrest) ~ age + prio + strata(wexp), data = rossi, ties = "efron"))
out$rossi_km <- km(survfit(Surv(week, arrest) ~ 1, data = rossi, conf.type = "log-log"), c(10, 26, 51, 52))
out$rossi_logrank <- list(chisq = survdiff(Surv(week, arrest) ~ fin, data = rossi)$chisq,
                          rho1 = survdiff(Surv(week, arrest) ~ fin, data = rossi, rho = 1)$chisq)
out$rossi_rmst <- as.list(summary(survfit(Surv(week, arrest) ~ 1, data = rossi), rmean = 40)$table[c("rmean", "se(rmean)")])

# left truncation: entry at an invented week, one third of the observed time
rossi$entry <- floor(rossi$week / 3)
late <- subset(rossi, entry < week)
out$rossi_truncated_km <- km(survfit(Surv(entry, week, arrest) ~ 1, data = late, conf.type = "log-log"), c(20, 40, 52))
late_cox <- coxph(Surv(entry, week, arrest) ~ fin + prio, data = late, ties = "efron")
out$rossi_truncated_cox <- model(late_cox)

# lung: NCCTG lung cancer; sex 1 male, 2 female
lung_fit <- survfit(Surv(time, status) ~ sex, data = lung, conf.type = "log-log")
out$lung_km <- lapply(1:2, function(s) km(survfit(Surv(time, status) ~ 1, data = lung[lung$sex == s, ], conf.type = "log-log"), c(182, 365, 730)))
out$lung_logrank <- list(chisq = survdiff(Surv(time, status) ~ sex, data = lung)$chisq,
                         rho1 = survdiff(Surv(time, status) ~ sex, data = lung, rho = 1)$chisq)
complete <- lung[complete.cases(lung[, c("age", "sex", "ph.ecog")]), ]
lung_cox <- coxph(Surv(time, status) ~ age + sex + ph.ecog, data = complete)
out$lung_cox <- model(lung_cox)
out$lung_zph <- zph(lung_cox, "km")
reverse <- survfit(Surv(time, 1 - status) ~ 1, data = lung, conf.type = "log-log")
out$lung_follow_up <- as.list(summary(reverse)$table[c("median", "0.95LCL", "0.95UCL")])

# larynx: trend over four ordered stages, from survdiff's O, E and variance
difference <- survdiff(Surv(time, death) ~ stage, data = larynx)
scores <- 0:3
u <- sum(scores * (difference$obs - difference$exp))
out$larynx_trend <- list(global = difference$chisq, trend = as.numeric(u^2 / (t(scores) %*% difference$var %*% scores)))

# competing risks on the synthetic truth: Aalen-Johansen at several days
patients <- read.csv(file.path(arguments[2], "patients.csv"), stringsAsFactors = FALSE)
patients$cause <- factor(ifelse(patients$efs_event == 0, "censored",
  ifelse(patients$efs_event_type == "death_in_remission", "death", "relapse")), levels = c("censored", "relapse", "death"))
out$cif <- lapply(split(patients, patients$km_stratum), function(part) {
  s <- summary(survfit(Surv(efs_days, cause) ~ 1, data = part), times = c(182, 365, 730), extend = TRUE)
  list(states = s$states, pstate = s$pstate, se = s$std.err, at_risk = s$n.risk)
})
fit <- coxph(Surv(efs_days, efs_event) ~ high_mrd_ge1pct + bcr_abl1 + poor_cytogenetics, data = patients)
out$truth_cox <- model(fit)
out$truth_zph <- zph(fit, "km")
out$truth_stratified <- model(coxph(Surv(efs_days, efs_event) ~ high_mrd_ge1pct + bcr_abl1 + poor_cytogenetics + strata(site), data = patients))
rm <- function(stratum, days, event) as.list(summary(survfit(Surv(days, event) ~ 1, data = patients[patients$km_stratum == stratum, ]), rmean = 365)$table[c("rmean", "se(rmean)")])
out$truth_rmst <- lapply(c(CR_MRDneg = "CR_MRDneg", CR_MRDpos = "CR_MRDpos", RR = "RR"), function(s) {
  part <- patients[patients$km_stratum == s, ]
  as.list(summary(survfit(Surv(efs_days, efs_event) ~ 1, data = part), rmean = 365)$table[c("rmean", "se(rmean)")])
})

# time-dependent HSCT in the strata RR and CR_MRDpos
part <- patients[patients$km_stratum != "CR_MRDneg", ]
part$RR <- as.numeric(part$km_stratum == "RR")
long <- tmerge(part[, c("patient_id", "RR")], part, id = patient_id, event = event(efs_days, efs_event))
long <- tmerge(long, part, id = patient_id, treated = tdc(hsct_day))
out$truth_hsct <- model(coxph(Surv(tstart, tstop, event) ~ treated + RR, data = long))

# Hodges-Lehmann, signed rank: exact and approximate on small data without ties
before <- c(1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30); after <- c(0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29)
exact <- wilcox.test(after, before, paired = TRUE, exact = TRUE)
near <- wilcox.test(after, before, paired = TRUE, exact = FALSE, correct = FALSE)
out$signed_rank <- list(before = before, after = after, exact = exact$p.value, normal = near$p.value,
                        corrected = wilcox.test(after, before, paired = TRUE, exact = FALSE)$p.value)
out$mid <- list(fisher = fisher.test(matrix(c(8, 1, 7, 35), 2))$p.value,
                pearson = chisq.test(matrix(c(8, 1, 7, 35), 2), correct = FALSE)$p.value)
out$poisson <- list(three = poisson.test(3, 120)$conf.int[1:2], none = poisson.test(0, 120)$conf.int[1:2])
out$interval_regression <- local({
  set.seed(1)
  low <- c(1.2, 0.7, 2.1, 1.9, 3.0, 2.2, 1.1, 0.4, NA, NA); high <- c(1.2, 0.7, 2.1, 1.9, 3.0, 2.2, NA, NA, 0.9, 1.5)
  fit <- survreg(Surv(low, high, type = "interval2") ~ 1, dist = "gaussian")
  list(low = low, high = high, mean = unname(coef(fit)), se = unname(sqrt(vcov(fit)[1, 1])), scale = fit$scale)
})
cat(toJSON(out, digits = NA, auto_unbox = TRUE, pretty = TRUE, na = "null"), "\n")
