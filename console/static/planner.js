// Sliders beside the numbers, and figures that follow them: the page is asked for again, and its parts replaced.
"use strict";
(() => {
  const form = document.getElementById("plan-form");
  const problem = document.getElementById("plan-problem");
  const replaced = ["plan-words", "plan", "plan-terms"];
  const DELAY_MS = 150;
  let waiting = 0;
  let asking = null;

  async function workOut() {
    if (!form.checkValidity()) return;
    const address = `${form.action}?${new URLSearchParams(new FormData(form))}`;
    asking?.abort();
    asking = new AbortController();
    try {
      const answer = await fetch(address, { signal: asking.signal });
      if (answer.redirected) {
        location.assign(answer.url); // the session has ended
        return;
      }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!answer.ok) {
        problem.textContent = page.querySelector("main p")?.textContent ?? answer.statusText;
        return;
      }
      problem.textContent = "";
      for (const id of replaced) {
        const here = document.getElementById(id);
        const there = page.getElementById(id);
        if (here && there) here.replaceChildren(...there.childNodes);
      }
      history.replaceState(null, "", address);
    } catch (error) {
      if (error.name !== "AbortError") problem.textContent = "The console does not answer; try again in a moment.";
    }
  }

  function soon() {
    clearTimeout(waiting);
    waiting = setTimeout(workOut, DELAY_MS);
  }

  for (const slider of form.querySelectorAll("[data-term]")) {
    const input = form.elements.namedItem(slider.dataset.term);
    slider.hidden = false;
    slider.addEventListener("input", () => {
      input.value = slider.value;
      soon();
    });
    input.addEventListener("input", () => {
      slider.value = input.value;
      soon();
    });
  }
})();
