// A choice in a picker is a choice: no need to press its button, which stays for those without scripts.
"use strict";
document.querySelectorAll("form.picker select").forEach((select) => {
  select.addEventListener("change", () => select.form.requestSubmit());
});
