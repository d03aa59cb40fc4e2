"use strict";
(() => {
  const filters = ["status", "table", "severity"].map((name) => document.getElementById("by-" + name));
  const search = document.getElementById("by-text");
  const shown = document.getElementById("shown");
  const rows = Array.from(document.querySelectorAll("#every tbody tr"));
  const words = rows.map((row) => row.textContent.toLowerCase());
  const apply = () => {
    const text = search.value.trim().toLowerCase();
    let count = 0;
    rows.forEach((row, index) => {
      const fits = filters.every((one) => {
        const value = row.dataset[one.id.slice(3)];
        return one.value === "" || (one.value === "asked" ? value !== "not_applicable" : value === one.value);
      });
      row.hidden = !(fits && (text === "" || words[index].includes(text)));
      count += row.hidden ? 0 : 1;
    });
    shown.textContent = count.toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " checks shown";
  };
  filters.forEach((one) => one.addEventListener("change", apply));
  search.addEventListener("input", apply);
  document.getElementById("filters").hidden = false;
  apply();
})();
