// The phone desk: each group of an Installation ID is checked as it is typed, and a Confirmation ID is read aloud.
// Without this script the page works as well: the service checks every group.
'use strict';

// The check digit of Damm, as crates/quorate-core/src/check_digit.rs has it; a test compares the two.
const QUASIGROUP = [
  '0317598642', '7092154863', '4206871359', '1750983426', '6123045978',
  '3674209581', '5869720134', '8945362017', '9438617205', '2581436790',
];
const isSound = (digits) => [...digits].reduce((interim, digit) => Number(QUASIGROUP[interim][digit]), 0) === 0;

const form = document.getElementById('desk');
if (form) {
  const inputs = [...form.querySelectorAll('.groups input')];
  inputs.forEach((input, index) => {
    // The field would cut what is pasted into it before it can be shared out.
    input.removeAttribute('maxlength');
    const label = input.closest('label');
    const says = label.querySelector('output');
    input.addEventListener('input', () => {
      // What was looked up is another Installation ID from now on.
      document.getElementById('card')?.remove();
      let digits = input.value.replace(/\D/g, '');
      // Somebody may paste the whole ID into one field.
      const rest = digits.slice(6);
      input.value = digits = digits.slice(0, 6);
      const whole = digits.length === 6;
      const sound = whole && isSound(digits);
      label.className = whole ? (sound ? 'right' : 'wrong') : '';
      input.setAttribute('aria-invalid', String(whole && !sound));
      says.textContent = whole ? (sound ? 'right' : 'wrong: ask for this group again') : '';
      // What is heard again is typed over it.
      if (whole && !sound) input.select();
      const next = inputs[index + 1];
      if (sound && next) {
        if (rest) {
          next.value = rest;
          next.dispatchEvent(new Event('input'));
        } else {
          next.focus();
        }
      }
    });
  });
  // What is next: to give the Confirmation ID, to hear a group again, or to hear the first.
  const wrong = inputs.find((input) => input.closest('label').classList.contains('wrong'));
  (document.getElementById('give') || wrong || inputs[0]).focus();
}

const spoken = document.getElementById('spoken');
const aloud = document.getElementById('aloud');
if (spoken && aloud && 'speechSynthesis' in window) {
  aloud.hidden = false;
  aloud.addEventListener('click', () => {
    speechSynthesis.cancel();
    for (const item of spoken.children) {
      const letter = item.querySelector('span').textContent;
      const digits = item.querySelector('b').textContent;
      const words = new SpeechSynthesisUtterance(`${letter}: ${[...digits].join(', ')}.`);
      words.lang = 'en';
      words.rate = 0.85;
      words.onstart = () => item.classList.add('now');
      words.onend = () => item.classList.remove('now');
      speechSynthesis.speak(words);
    }
  });
}
