# Values of R for tests/analytics/statistics/test_r_values.py and test_r_more.py.
# Run:  Rscript tests/oracle/r_values.R <folder of write_datasets.py> <truth folder> > tests/oracle/r_values.json
# The CSV files are written by tests/oracle/write_datasets.py from lifelines.datasets (same rows in both programs).
# Debian: r-base-core r-cran-survival r-cran-jsonlite r-cran-etm r-cran-exactranktests r-cran-brglm r-cran-metafor
# r-cran-geepack r-cran-nlme. Debian has neither logistf nor coxphf: the Firth values below are the maximum of R's own
# (partial) likelihood plus half the log determinant of its information, found by optim and profiled by uniroot.
suppressMessages({library(survival); library(jsonlite)})
arguments <- commandArgs(trailingOnly = TRUE)
data <- function(name) read.csv(file.path(arguments[1], paste0(name, ".csv")))
rossi <- data("rossi"); lung <- data("lung"); larynx <- data("larynx")
larynx$stage <- larynx$Stage_II + 2 * larynx$Stage_III + 3 * larynx$Stage_IV
packages <- c("survival", "etm", "exactRankTests", "brglm", "metafor", "geepack", "nlme")
out <- list(versions = c(list(R = R.version.string), lapply(setNames(packages, packages), function(p) as.character(packageVersion(p)))))
exactly <- coxph.control(eps = 1e-12, toler.chol = 1e-13, iter.max = 100)

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
rossi_cox <- coxph(Surv(week, arrest) ~ fin + age + prio, data = rossi, ties = "efron", control = exactly)
out$rossi_cox <- model(rossi_cox)
out$rossi_zph <- zph(rossi_cox, "km")
out$rossi_cox_strata <- model(coxph(Surv(week, arrest) ~ age + prio + strata(wexp), data = rossi, ties = "efron", control = exactly))
out$rossi_km <- km(survfit(Surv(week, arrest) ~ 1, data = rossi, conf.type = "log-log"), c(10, 26, 51, 52))
out$rossi_logrank <- list(chisq = survdiff(Surv(week, arrest) ~ fin, data = rossi)$chisq,
                          rho1 = survdiff(Surv(week, arrest) ~ fin, data = rossi, rho = 1)$chisq)
out$rossi_rmst <- as.list(summary(survfit(Surv(week, arrest) ~ 1, data = rossi), rmean = 40)$table[c("rmean", "se(rmean)")])

# left truncation: entry at an invented week, one third of the observed time
rossi$entry <- floor(rossi$week / 3)
late <- subset(rossi, entry < week)
out$rossi_truncated_km <- km(survfit(Surv(entry, week, arrest) ~ 1, data = late, conf.type = "log-log"), c(20, 40, 52))
late_cox <- coxph(Surv(entry, week, arrest) ~ fin + prio, data = late, ties = "efron", control = exactly)
out$rossi_truncated_cox <- model(late_cox)

# lung: NCCTG lung cancer; sex 1 male, 2 female
lung_fit <- survfit(Surv(time, status) ~ sex, data = lung, conf.type = "log-log")
out$lung_km <- lapply(1:2, function(s) km(survfit(Surv(time, status) ~ 1, data = lung[lung$sex == s, ], conf.type = "log-log"), c(182, 365, 730)))
out$lung_logrank <- list(chisq = survdiff(Surv(time, status) ~ sex, data = lung)$chisq,
                         rho1 = survdiff(Surv(time, status) ~ sex, data = lung, rho = 1)$chisq)
complete <- lung[complete.cases(lung[, c("age", "sex", "ph.ecog")]), ]
lung_cox <- coxph(Surv(time, status) ~ age + sex + ph.ecog, data = complete, control = exactly)
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
fit <- coxph(Surv(efs_days, efs_event) ~ high_mrd_ge1pct + bcr_abl1 + poor_cytogenetics, data = patients, control = exactly)
out$truth_cox <- model(fit)
out$truth_zph <- zph(fit, "km")
out$truth_stratified <- model(coxph(Surv(efs_days, efs_event) ~ high_mrd_ge1pct + bcr_abl1 + poor_cytogenetics + strata(site), data = patients, control = exactly))
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
out$truth_hsct <- model(coxph(Surv(tstart, tstop, event) ~ treated + RR, data = long, control = exactly))

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
# left truncation with ties and strata; a covariate that changes with time (Stanford heart transplants)
out$rossi_truncated_strata <- model(coxph(Surv(entry, week, arrest) ~ age + prio + strata(wexp), data = late, ties = "efron", control = exactly))
heart <- data("stanford")
heart_cox <- coxph(Surv(start, stop, event) ~ transplant + surgery, data = heart, ties = "efron", control = exactly)
out$heart <- model(heart_cox)

# competing risks with ties: the cause of a rossi arrest invented from the age; etm's Greenwood-type variance
# (survfit's is the infinitesimal jackknife, which differs in the third digit)
rossi$cause <- ifelse(rossi$arrest == 0, 0, ifelse(rossi$age < 23, 1, 2))
suppressMessages(library(etm))
allowed <- matrix(FALSE, 3, 3); allowed[1, 2:3] <- TRUE
competing <- function(time, cause, at) {
  one <- data.frame(id = seq_along(time), from = "0", to = ifelse(cause == 0, "cens", as.character(cause)), time = time)
  fit <- etm(one, c("0", "1", "2"), allowed, "cens", 0)
  list(time = at, cif = lapply(1:2, function(k) unname(trprob(fit, paste("0", k), at))),
       variance = lapply(1:2, function(k) unname(trcov(fit, paste("0", k), at))))
}
out$rossi_competing <- competing(rossi$week, rossi$cause, c(10, 26, 40, 52))
out$truth_competing <- competing(patients$efs_days, as.numeric(patients$cause) - 1, c(182, 365, 730))

# proportions
limits <- function(k, n) list(k = k, n = n, exact = binom.test(k, n)$conf.int[1:2],
  wilson = suppressWarnings(prop.test(k, n, correct = FALSE)$conf.int[1:2]))
out$proportions <- list(limits(9, 11), limits(33, 40), limits(73, 74), limits(0, 23), limits(60, 60))
newcombe <- function(k1, n1, k2, n2) {
  one <- limits(k1, n1)$wilson; two <- limits(k2, n2)$wilson; p1 <- k1 / n1; p2 <- k2 / n2
  c(p1 - p2, p1 - p2 - sqrt((p1 - one[1])^2 + (two[2] - p2)^2), p1 - p2 + sqrt((one[2] - p1)^2 + (p2 - two[1])^2))
}
out$newcombe <- list(list(counts = c(8, 15, 1, 36), value = newcombe(8, 15, 1, 36)), list(counts = c(0, 4, 3, 9), value = newcombe(0, 4, 3, 9)))
mid <- function(a, b, c, d) {
  x <- max(0, a + c - c - d):min(a + b, a + c); p <- dhyper(x, a + c, b + d, a + b); o <- dhyper(a, a + c, b + d, a + b)
  same <- abs(p / o - 1) < 1e-9; sum(p[p < o & !same]) + sum(p[same]) / 2
}
out$mid_p <- list(list(counts = c(8, 1, 7, 35), value = mid(8, 1, 7, 35)), list(counts = c(4, 5, 5, 35), value = mid(4, 5, 5, 35)))
out$yates <- suppressWarnings(chisq.test(matrix(c(8, 1, 7, 35), 2))$p.value)
several <- c(0.0001, 0.002, 0.046, 0.033, 0.276, 0.01)
out$adjusted <- list(p = several, bh = p.adjust(several, "BH"), holm = p.adjust(several, "holm"))

# signed ranks: ties and zeros after rounding, exact; shift with exact limits; geometric mean ratio
first <- c(0.96, 0.35, 0.41, 1.20, 0.55, 0.82, 0.30, 0.44, 0.71, 0.10, 0.63, 0.25)
second <- c(1.13, 0.47, 0.53, 1.15, 0.67, 0.99, 0.30, 0.40, 0.83, 0.27, 0.75, 0.42)
change <- round(second - first, 2)
out$tied <- list(before = first, after = second, exact = exactRankTests::wilcox.exact(change)$p.value,
  normal = suppressWarnings(wilcox.test(change, exact = FALSE, correct = FALSE)$p.value))
shift <- wilcox.test(after - before, conf.int = TRUE, exact = TRUE)
out$shift <- list(estimate = unname(shift$estimate), limits = shift$conf.int[1:2])
many <- round(qnorm(ppoints(31)) * 0.4 + seq(0.05, 0.35, length.out = 31)^2, 6)
shift <- wilcox.test(many, conf.int = TRUE, exact = TRUE)
out$shift_31 <- list(differences = many, estimate = unname(shift$estimate), limits = shift$conf.int[1:2])
logs <- t.test(log(after / before))
out$ratio <- c(exp(unname(logs$estimate)), exp(logs$conf.int[1:2]))

# Firth: penalised likelihood by R's own likelihoods
profiled <- function(minus, start) {
  search <- function(f, b) {  # twice: simplex, then quasi-Newton
    near <- if (length(b) > 1) optim(b, f, control = list(maxit = 2000, reltol = 1e-14))$par else b
    fit <- optim(near, f, method = "BFGS", control = list(maxit = 500, reltol = 1e-15, ndeps = rep(1e-5, length(b))))
    list(estimate = fit$par, minimum = fit$value)
  }
  best <- search(minus, start)
  refit <- function(i, value) {
    held <- function(free) { b <- numeric(length(start)); b[-i] <- free; b[i] <- value; minus(b) }
    if (length(start) == 1) return(minus(value))
    search(held, best$estimate[-i])$minimum
  }
  gap <- function(i) function(value) 2 * (refit(i, value) - best$minimum) - qchisq(0.95, 1)
  lapply(seq_along(start), function(i) {
    at <- best$estimate[i]; edge <- gap(i)
    list(coef = at, lower = uniroot(edge, c(at - 8, at), tol = 1e-8)$root, upper = uniroot(edge, c(at, at + 8), tol = 1e-8)$root,
         p = pchisq(2 * (refit(i, 0) - best$minimum), 1, lower.tail = FALSE))
  })
}
cox_penalty <- function(formula, frame) function(b) {
  fit <- tryCatch(suppressWarnings(coxph(formula, data = frame, init = b, ties = "breslow", control = coxph.control(iter.max = 0))),
                  error = function(overflow) NULL)  # far out on the way to the maximum
  if (is.null(fit) || !all(is.finite(fit$var))) 1e6 else -(fit$loglik[1] - 0.5 * as.numeric(determinant(fit$var)$modulus))
}
out$firth_cox <- profiled(cox_penalty(Surv(efs_days, efs_event) ~ high_mrd_ge1pct + bcr_abl1 + poor_cytogenetics, patients), c(0, 0, 0))
patients$is_pos <- as.numeric(patients$km_stratum == "CR_MRDpos"); patients$is_rr <- as.numeric(patients$km_stratum == "RR")
out$firth_cox_os <- profiled(cox_penalty(Surv(os_days, os_event) ~ is_pos + is_rr, patients), c(0, 0))
courses <- read.csv(file.path(arguments[2], "courses.csv"), stringsAsFactors = FALSE)
ill <- merge(courses[courses$state_pre != "MRDneg", c("patient_id", "response_cr")], patients, by = "patient_id")
design <- cbind(ill$high_mrd_ge1pct, ill$bcr_abl1, ill$poor_cytogenetics, 1); failed <- 1 - ill$response_cr
logit_penalty <- function(b) {
  eta <- drop(design %*% b); p <- plogis(eta)
  -(sum(dbinom(failed, 1, p, log = TRUE)) + 0.5 * as.numeric(determinant(crossprod(design * (p * (1 - p)), design))$modulus))
}
out$firth_logistic <- profiled(logit_penalty, c(0, 0, 0, 0))[1:3]
out$brglm <- unname(coef(brglm::brglm(failed ~ design - 1, family = binomial, pl = TRUE))[1:3])

# several courses of a patient; sites pooled
negative <- courses[courses$state_pre == "MRDneg" & !is.na(courses$mrd_neg_post), ]
negative <- negative[order(negative$patient_id, negative$course_no), ]
negative$person <- as.integer(factor(negative$patient_id))
# geepack stops at 1e-4 by default; its correlation has no degrees-of-freedom correction
clustered <- function(outcome, person) {
  fit <- geepack::geeglm(outcome ~ 1, id = person, family = binomial, corstr = "exchangeable",
                         control = geepack::geese.control(epsilon = 1e-13, maxit = 500))
  list(coef = unname(coef(fit)), se = unname(sqrt(fit$geese$vbeta[1, 1])), correlation = unname(fit$geese$alpha))
}
out$gee <- clustered(negative$mrd_neg_post, negative$person)
set.seed(11)  # alike within the person, one to six courses each
person <- rep(1:30, times = rep(1:6, 5))
outcome <- as.numeric(runif(length(person)) < plogis(rnorm(30, 0.6, 1.5)[person]))
out$gee_alike <- c(list(person = person, outcome = outcome), clustered(outcome, person))
set.seed(7)
repeated <- data.frame(person = rep(1:12, times = rep(1:3, 4)))
repeated$log_ratio <- round(0.2 + rnorm(12, 0, 0.3)[repeated$person] + rnorm(nrow(repeated), 0, 0.2), 4)
mixed <- nlme::lme(log_ratio ~ 1, random = ~ 1 | person, data = repeated, method = "REML")
out$mixed <- list(person = repeated$person, log_ratio = repeated$log_ratio, coef = unname(nlme::fixef(mixed)),
  se = unname(sqrt(mixed$varFix[1, 1])), between = as.numeric(nlme::VarCorr(mixed)[1, 1]), within = mixed$sigma^2)
effect <- c(0.1, 1.9, -0.4, 1.1); variance <- c(0.2, 0.3, 0.25, 0.4)
pooled <- metafor::rma(effect, variance, method = "PM", test = "knha")
plain <- metafor::rma(effect, variance, method = "PM")
out$pooled <- list(effect = effect, variance = variance, mean = as.numeric(pooled$beta), tau2 = pooled$tau2, q = pooled$QE, q_p = pooled$QEp,
  knha = c(pooled$ci.lb, pooled$ci.ub), normal = c(plain$ci.lb, plain$ci.ub))
cat(toJSON(out, digits = NA, auto_unbox = TRUE, pretty = TRUE, na = "null"), "\n")
