-- Invented rows; ids of concepts from 900 on are made up for this test.
INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, standard_concept, concept_code, valid_start_date, valid_end_date) VALUES
  (0, 'No matching concept', 'Metadata', 'None', 'Undefined', NULL, 'No matching concept', '1970-01-01', '2099-12-31'),
  (8507, 'MALE', 'Gender', 'Gender', 'Gender', 'S', 'M', '1970-01-01', '2099-12-31'),
  (8527, 'White', 'Race', 'Race', 'Race', 'S', '5', '1970-01-01', '2099-12-31'),
  (38003564, 'Not Hispanic', 'Ethnicity', 'Ethnicity', 'Ethnicity', 'S', 'Not Hispanic', '1970-01-01', '2099-12-31'),
  (9201, 'Inpatient', 'Visit', 'Visit', 'Visit', 'S', 'IP', '1970-01-01', '2099-12-31'),
  (32817, 'EHR', 'Type Concept', 'Type Concept', 'Type Concept', 'S', 'EHR', '1970-01-01', '2099-12-31'),
  (32818, 'EHR administration', 'Type Concept', 'Type Concept', 'Type Concept', 'S', 'EHR admin', '1970-01-01', '2099-12-31'),
  (32838, 'EHR prescription', 'Type Concept', 'Type Concept', 'Type Concept', 'S', 'EHR presc', '1970-01-01', '2099-12-31'),
  (756265, 'CDM 5.4', 'Metadata', 'CDM', 'CDM', 'S', 'CDM v5.4', '1970-01-01', '2099-12-31'),
  (1147049, 'specimen.specimen_id', 'Metadata', 'CDM', 'Field', 'S', 'CDM105', '1970-01-01', '2099-12-31'),
  (45892531, 'blinatumomab', 'Drug', 'RxNorm', 'Ingredient', 'S', '1597258', '1970-01-01', '2099-12-31'),
  (901, 'blinatumomab injection', 'Drug', 'RxNorm', 'Clinical Drug', 'S', '901', '1970-01-01', '2099-12-31'),
  (910, 'B-ALL', 'Condition', 'SNOMED', 'Disorder', 'S', '277571004', '1970-01-01', '2099-12-31'),
  (911, 'B-ALL, old', 'Condition', 'SNOMED', 'Disorder', NULL, '911', '1970-01-01', '2099-12-31'),
  (912, 'B-ALL, source', 'Condition', 'ICD10CM', '5-char billing code', NULL, 'C91.00', '1970-01-01', '2099-12-31'),
  (920, 'CD3', 'Measurement', 'LOINC', 'Lab Test', 'S', '8122-4', '1970-01-01', '2099-12-31'),
  (921, 'Blasts', 'Measurement', 'LOINC', 'Lab Test', 'S', '11150-0', '1970-01-01', '2099-12-31'),
  (922, 'MRD', 'Measurement', 'BLINA', 'Lab Test', 'S', 'MRD_BM_FLOW', '1970-01-01', '2099-12-31'),
  (9444, 'billion per liter', 'Unit', 'UCUM', 'Unit', 'S', '10*9/L', '1970-01-01', '2099-12-31'),
  (8647, 'per microliter', 'Unit', 'UCUM', 'Unit', 'S', '/uL', '1970-01-01', '2099-12-31'),
  (8554, 'percent', 'Unit', 'UCUM', 'Unit', 'S', '%', '1970-01-01', '2099-12-31'),
  (930, 'Planned block', 'Observation', 'BLINA', 'Observation', 'S', 'PLANNED_BLOCK', '1970-01-01', '2099-12-31'),
  (931, 'Follow-up status', 'Observation', 'BLINA', 'Observation', 'S', 'FOLLOWUP_STATUS', '1970-01-01', '2099-12-31'),
  (932, 'Dead', 'Meas Value', 'BLINA', 'Qualifier Value', 'S', 'FU_DEAD', '1970-01-01', '2099-12-31'),
  (940, 'Marrow', 'Specimen', 'SNOMED', 'Specimen', 'S', '940', '1970-01-01', '2099-12-31'),
  (950, 'HSCT', 'Procedure', 'SNOMED', 'Procedure', 'S', '234336002', '1970-01-01', '2099-12-31');
INSERT INTO cdm.concept_ancestor VALUES (45892531, 45892531, 0, 0), (45892531, 901, 1, 1);
INSERT INTO cdm.cdm_source (cdm_source_name, cdm_source_abbreviation, cdm_holder, source_release_date, cdm_release_date, cdm_version_concept_id, vocabulary_version)
  VALUES ('test', 'T', 'test', '2025-01-01', '2025-01-02', 756265, 'none');
INSERT INTO cdm.care_site (care_site_id, care_site_name) VALUES (1, 'A');
INSERT INTO cdm.person (person_id, gender_concept_id, year_of_birth, month_of_birth, day_of_birth, birth_datetime, race_concept_id, ethnicity_concept_id, race_source_value) VALUES
  (1, 8507, 2015, 3, 4, NULL, 8527, 38003564, 'w'), (2, 8507, 2016, 5, 6, '2016-05-06', 8527, 38003564, 'w');
INSERT INTO cdm.death (person_id, death_date, death_type_concept_id) VALUES (1, '2024-06-01', 32817);
INSERT INTO cdm.observation_period (observation_period_id, person_id, observation_period_start_date, observation_period_end_date, period_type_concept_id) VALUES
  (1, 1, '2015-06-01', '2024-06-01', 32817), (2, 2, '2016-05-06', '2024-12-31', 32817);
INSERT INTO cdm.visit_occurrence (visit_occurrence_id, person_id, visit_concept_id, visit_start_date, visit_end_date, visit_type_concept_id, care_site_id) VALUES
  (1, 1, 9201, '2024-01-01', '2024-02-01', 32817, 1), (2, 2, 9201, '2024-01-01', '2024-05-01', 32817, 1);
INSERT INTO cdm.condition_occurrence (condition_occurrence_id, person_id, condition_concept_id, condition_start_date, condition_end_date, condition_type_concept_id, condition_source_value, condition_source_concept_id) VALUES
  (1, 1, 910, '2023-01-01', '2023-02-01', 32817, 'C91.00', 912), (2, 2, 910, '2023-01-01', '2023-02-01', 32817, 'C91.00', 912);
INSERT INTO cdm.condition_era (condition_era_id, person_id, condition_concept_id, condition_era_start_date, condition_era_end_date) VALUES
  (1, 1, 910, '2023-01-01', '2023-02-01'), (2, 2, 910, '2023-01-01', '2023-02-01');
-- 100 bags of a day: one for person 1, 99 for person 2.
INSERT INTO cdm.drug_exposure (drug_exposure_id, person_id, drug_concept_id, drug_exposure_start_date, drug_exposure_start_datetime, drug_exposure_end_date, drug_exposure_end_datetime, drug_type_concept_id, quantity, sig, visit_occurrence_id, drug_source_value)
  SELECT i, CASE WHEN i = 1 THEN 1 ELSE 2 END, CASE WHEN i = 2 THEN 901 ELSE 45892531 END, DATE '2024-01-10' + CAST(i AS INTEGER), TIMESTAMP '2024-01-10 20:00' + INTERVAL 1 DAY * i,
         DATE '2024-01-11' + CAST(i AS INTEGER), TIMESTAMP '2024-01-11 20:00' + INTERVAL 1 DAY * i, 32818, 28, '28 ug/d', CASE WHEN i = 1 THEN 1 ELSE 2 END, 'blinatumomab'
  FROM range(1, 101) r(i);
INSERT INTO cdm.drug_era (drug_era_id, person_id, drug_concept_id, drug_era_start_date, drug_era_end_date) VALUES
  (1, 1, 45892531, '2024-01-11', '2024-01-12'), (2, 2, 45892531, '2024-01-12', '2024-04-20');
INSERT INTO cdm.specimen (specimen_id, person_id, specimen_concept_id, specimen_type_concept_id, specimen_date) VALUES (1, 1, 940, 32817, '2024-01-05'), (2, 2, 940, 32817, '2024-01-05');
INSERT INTO cdm.measurement (measurement_id, person_id, measurement_concept_id, measurement_date, measurement_datetime, measurement_type_concept_id, value_as_number, unit_concept_id, unit_source_value, visit_occurrence_id, measurement_event_id, meas_event_field_concept_id) VALUES
  (1, 1, 920, '2024-01-05', '2024-01-05 07:00', 32817, 0.9, 9444, '10*9/L', 1, NULL, NULL), (2, 2, 920, '2024-01-05', '2024-01-05 07:00', 32817, 900, 8647, '/uL', 2, NULL, NULL),
  (3, 1, 921, '2024-01-05', NULL, 32817, 3, 8554, '%', 1, 1, 1147049), (4, 2, 921, '2024-01-05', NULL, 32817, 4, 8554, '%', 2, 2, 1147049),
  (5, 1, 922, '2024-01-05', NULL, 32817, 0.5, 8554, '%', 1, 1, 1147049), (6, 2, 922, '2024-01-05', NULL, 32817, 0.01, 8554, '%', 2, 2, 1147049);
INSERT INTO cdm.observation (observation_id, person_id, observation_concept_id, observation_date, observation_type_concept_id, value_as_concept_id) VALUES
  (1, 1, 930, '2024-01-01', 32817, NULL), (2, 1, 931, '2024-06-01', 32817, 932);
INSERT INTO cdm.procedure_occurrence (procedure_occurrence_id, person_id, procedure_concept_id, procedure_date, procedure_end_date, procedure_type_concept_id) VALUES (1, 1, 950, '2024-03-01', '2024-03-01', 32817);
