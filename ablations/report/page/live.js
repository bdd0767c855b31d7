(() => {
  const sign = document.getElementById("live");
  const mark = document.querySelector("meta[name=ablate-live]"); // which version this page is
  let known = mark === null ? null : mark.content;
  const look = async () => {
    try {
      const answer = await fetch("/state", { cache: "no-store" });
      const state = await answer.text();
      if (!answer.ok) throw new Error(state);
      sign.textContent = "live";
      sign.classList.remove("lost");
      if (known !== null && state !== known) location.reload();
      known = state;
    } catch {
      sign.textContent = "not connected";
      sign.classList.add("lost");
    }
  };
  look();
  setInterval(look, 2000);
})();
